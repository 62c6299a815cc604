#!/usr/bin/env bash
# launch/mpirun.sh: its settings, its complaints, what it looks at on a node, the program's exit code, and signals that reach
# the ranks; launch/in_container.sh.
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
mpirun="$root/launch/mpirun.sh"
unset OMP_NUM_THREADS SNELL_PROGRAM SNELL_MPIRUN_ARGS SNELL_CHECK SLURM_JOB_ID SLURM_NTASKS SLURM_JOB_NUM_NODES SLURM_GPUS_ON_NODE
unset ${!OMPI_MCA_@} ${!NCCL_@}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
cases=0

# expect CODE PATTERN ARGUMENTS…: the script's exit code, and what it says.
expect() {
  local code=$1 pattern=$2 said
  shift 2
  said=$("$mpirun" "$@" 2>&1 </dev/null)
  local got=$?
  cases=$((cases + 1))
  if [ $got != "$code" ] || ! grep -qE -e "$pattern" <<<"$said"; then
    failures=$((failures + 1))
    printf 'FAILED: mpirun.sh %s\n  wanted exit %s and /%s/, got exit %s and:\n%s\n' "$*" "$code" "$pattern" "$got" "$said"
  fi
}

expect 0 'usage: launch/mpirun.sh' --help
expect 0 'mpirun -n 2 .*mpi_yield_when_idle 1 .*--oversubscribe .*build/bin/snell train a=b' -n 2 --print -- train a=b
expect 0 'mpirun -n 8 .*--host h1:4.*h2:4 -x OMP_NUM_THREADS' --nodes h1:4,h2:4 --print -- train
expect 0 'mpirun -n 2 .*build-cuda/bin/snell train' --gpus 0,3 --print -- train
expect 0 '1 ranks on .* 5 thread' --threads 5 --print -- train
expect 0 'mpirun -n 1 .*--map-by slot:PE=1 --bind-to core' --bind core --threads 1 --print -- train
SNELL_MPIRUN_ARGS="--mca btl self" expect 0 '--mca btl self .*snell train' --print -- train
expect 2 "must be a whole number" -n 0 -- train
expect 2 "must be a whole number" -n two -- train
expect 2 "needs a value" -n -- train
expect 2 "knows no option '--rank'" --rank 2 -- train
expect 2 "'train' stands before '--'" -n 2 train
expect 2 "nothing to run" -n 2
expect 2 "do not fit into the 8 slots" -n 9 --nodes h1:4,h2:4 -- train
expect 2 "must be HOST:SLOTS" --nodes 'h1:4;rm' -- train
expect 2 "names a device twice" --gpus 0,0 -- train
expect 2 "needs a GPU of its own" -n 2 --gpus 0 -- train
expect 2 "must be core, numa or none" --bind hard -- train
expect 2 "cannot have cores of their own" -n 999 --bind core -- train
SNELL_PROGRAM=/no/such/program expect 2 "is not a program" -- train
SNELL_PROGRAM=/bin/sh expect 85 "" -n 2 -- -c 'exit 85'
SNELL_PROGRAM=/bin/sh expect 0 "threads=3" -n 2 --threads 3 -- -c 'echo threads=$OMP_NUM_THREADS'

# Defaults for Open MPI and NCCL: printed, forwarded, and given way to what the user sets.
expect 0 'mpi_yield_when_idle +1 +a waiting rank' --print -- train
expect 0 '--mca oob_tcp_if_exclude lo' --nodes h1,h2 --print -- train
OMPI_MCA_mpi_yield_when_idle=0 expect 0 'mpi_yield_when_idle +\(yours\)' --print -- train
OMPI_MCA_mpi_yield_when_idle=0 expect 0 'mpirun -n 1 --mca (btl|pml)' --print -- train
OMPI_MCA_btl_tcp_if_include=eth0 expect 0 'btl_tcp_if_exclude +\(yours\)' --nodes h1,h2 --print -- train
SNELL_MPIRUN_ARGS="--mca oob_tcp_if_include eth1" expect 0 'oob_tcp_if_exclude +\(yours\)' --nodes h1,h2 --print -- train
expect 0 'NCCL_DEBUG +WARN +an error says why' --gpus 0,1 --print -- train
NCCL_DEBUG=INFO expect 0 'NCCL_DEBUG +INFO +\(yours\)' --gpus 0,1 --print -- train
expect 0 'NCCL_SOCKET_IFNAME +not set +try ' --gpus 0,1 --nodes h1:2,h2:2 --print -- train
NCCL_ALGO=Ring expect 0 '-x CUDA_VISIBLE_DEVICES -x NCCL_ALGO -x NCCL_DEBUG -x OMP_NUM_THREADS' --gpus 0,1 --nodes h1:2,h2:2 --print -- train
expect 0 'GPU of local rank 0, 1, ...: 2,3' --gpus 2,3 --print -- train
OMPI_COMM_WORLD_SIZE=4 expect 0 'OMPI_COMM_WORLD_SIZE and the like are left over' --print -- train
PMIX_RANK=3 SNELL_PROGRAM=/bin/sh expect 0 'size=1' -- -c 'echo size=$OMPI_COMM_WORLD_SIZE'

# What is looked at on the node.
cat >"$work/program" <<'END'
#!/bin/sh
[ "$1" = --version ] && [ -n "$BROKEN" ] && echo "libtorch.so: cannot open" && exit 127
echo "snell 9"
END
chmod +x "$work/program"
SNELL_PROGRAM="$work/program" expect 0 'node .*: snell 9' --check
SNELL_PROGRAM="$work/program" BROKEN=1 expect 2 'does not start: libtorch.so: cannot open' --check
limited() { (failures=0 && ulimit -n 512 && ulimit -f 4000 && expect "$@" && exit $failures) || failures=$((failures + 1)); }
SNELL_PROGRAM="$work/program" limited 0 'only 512 open files' --check
SNELL_PROGRAM="$work/program" limited 0 'files may not grow beyond 4000 kB' -- train
SNELL_PROGRAM="$work/program" expect 2 'nvidia-smi lists' --gpus 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 --check
nodes_here="$(hostname):1"
SNELL_PROGRAM="$work/program" expect 2 "could not start launch/check_node.sh on every node|No such file|does not resolve" \
  --nodes "$nodes_here,no-such-host.invalid:1" --check

# Ranks that enter an image: options, the image, the program in it, and its arguments.
mkdir "$work/bin"
printf '#!/bin/sh\necho "container: $*"\nexit 85\n' >"$work/bin/apptainer"
chmod +x "$work/bin/apptainer"
: >"$work/it.sif"
PATH="$work/bin:$PATH" SNELL_IMAGE="$work/it.sif" SNELL_CONTAINER_ARGS="--bind /scratch" SNELL_PROGRAM="$root/launch/in_container.sh" \
  expect 85 "container: exec .*--bind /scratch $work/it.sif /opt/snell/build/bin/snell train a=b" -n 2 -- train a=b
PATH="$work/bin:$PATH" SNELL_PROGRAM="$root/launch/in_container.sh" expect 2 'SNELL_IMAGE must name the image' -- train

# A signal to the script (it becomes mpirun) reaches both ranks once they are up.
cat >"$work/rank.sh" <<'END'
trap 'exit 85' USR1
: >"$1/ready.$OMPI_COMM_WORLD_RANK"
for ((i = 0; i < 150; i++)); do sleep 0.2; done
END
SNELL_PROGRAM=/bin/bash "$mpirun" --quiet -n 2 -- "$work/rank.sh" "$work" >/dev/null 2>&1 </dev/null &
pid=$!
for ((i = 0; i < 150; i++)); do
  [ -e "$work/ready.0" ] && [ -e "$work/ready.1" ] && break
  sleep 0.2
done
kill -USR1 $pid
wait $pid
code=$?
cases=$((cases + 1))
if [ $code != 85 ]; then
  failures=$((failures + 1))
  echo "FAILED: USR1 should have ended the run with 85, it ended with $code"
fi

# Over several hosts mpirun has a guard: it hands on exit codes and signals, and knows the code of an mpirun that had to be
# killed.
guard="$root/launch/wait_for_mpirun.sh"
guarded() { # CODE WHAT COMMAND…
  local code=$1 what=$2
  shift 2
  "$guard" "$@" >/dev/null 2>&1
  local got=$?
  cases=$((cases + 1))
  [ $got = "$code" ] && return
  failures=$((failures + 1))
  echo "FAILED: wait_for_mpirun.sh: $what: wanted exit $code, got $got"
}
guarded 85 "the command's exit code" bash -c 'exit 85'
guarded 137 "a killed command" bash -c 'kill -9 $$'
guarded 124 "a killed command that left its code" bash -c 'echo 124 >"$SNELL_EXIT_CODE_FILE"; kill -9 $$'
guarded 86 "a signal on its way to the command" bash -c 'trap "exit 86" USR1; kill -USR1 $PPID; for i in {1..50}; do sleep 0.1; done'

echo "$cases cases, $failures failures"
[ $failures = 0 ]
