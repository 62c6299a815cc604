#!/usr/bin/env bash
# launch/mpirun.sh: its settings, its complaints, the program's exit code, and signals that reach the ranks.
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
mpirun="$root/launch/mpirun.sh"
unset OMP_NUM_THREADS SNELL_PROGRAM SNELL_MPIRUN_ARGS SLURM_JOB_ID SLURM_NTASKS SLURM_JOB_NUM_NODES
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

echo "$cases cases, $failures failures"
[ $failures = 0 ]
