#!/usr/bin/env bash
# The batch scripts in a real Slurm (slurm_box.sh): interrupted in every way that Slurm knows, a run must go on in the same
# folder with one continuous metrics.jsonl.
#   slurm_test.sh PROGRAM        PROGRAM: build/bin/snell
# The jobs: the published recipe of VTAB-1k's cifar with a small ViT, on generated pictures. They run side by side:
#   a  train.sbatch, mpirun, one node: killed, cancelled (saves), finishes
#   b  train.sbatch, srun, one node: told by Slurm's clock that its time is over, back in the queue by itself; its node dies,
#      back in the queue; cancelled
#   c  preemptible.sbatch, srun over two nodes: preempted after a grace time by a job of a better partition, back in the
#      queue, finishes
#   d  snell slurm sweep: an array; with one more value the finished points end at once
#   e  train.sbatch, mpirun over two nodes
#   f  train.sbatch, mpirun, a program whose step takes five seconds: cancelled, it still gets to save
#   g  as c with mpirun on one node, and without a grace time
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
"$root/tests/support/can_run.sh" slurm netns || exit $?
if [ -z "${SNELL_BOX:-}" ]; then
  unset SNELL_PROGRAM SNELL_RUNS SNELL_RUN_DIR SNELL_LAUNCHER OMP_NUM_THREADS SNELL_MPIRUN_ARGS
  exec "$here/slurm_box.sh" "${BASH_SOURCE[0]}" "$@"
fi

export SNELL_PROGRAM=$1 SNELL_REAL=$1 SNELL_ROOT="$root" OMP_NUM_THREADS=1
runs="$SNELL_BOX/runs"
log="$SNELL_BOX/jobs"
mkdir "$runs" "$log"
cd "$root"

fail() {
  echo "FAILED: $*" >&2
  tail -n 25 "$log"/*.log "$SNELL_BOX/slurmctld.log" >&2
  squeue >&2
  exit 1
}
wait_for() { # SECONDS WHAT COMMAND…
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $limit ] || fail "waited in vain for: $what"
    sleep 0.2
  done
}
state() { scontrol show job "$1" 2>/dev/null | grep -oP 'JobState=\K\S+' | head -n 1; }
has_state() { [[ "$(state "$1")" =~ ^($2)$ ]]; }
events() { grep -cE "\"event\": ?\"$2\"" "$runs/$1/metrics.jsonl" 2>/dev/null || true; }
has_events() { [ "$(events "$1" "$2")" -ge "$3" ]; }
has_checkpoint() { [ -n "$(ls "$runs/$1/checkpoints" 2>/dev/null)" ]; }
restarts() { scontrol show job "$1" | grep -oP 'Restarts=\K\d+'; }
# Power failure: every process of the node at once, and Slurm hears of it.
kill_node() {
  local space pid
  space=$(readlink "/proc/$(cat "$SNELL_BOX/slurmd.$1.pid")/ns/net")
  for pid in /proc/[0-9]*; do
    if [ "$(readlink "$pid/ns/net" 2>/dev/null)" = "$space" ]; then kill -KILL "${pid#/proc/}" 2>/dev/null || true; fi
  done
  scontrol update "nodename=$1" state=down reason="power failure"
}
check() { python3 -B "$here/check_metrics.py" "$runs/$1" "${@:2}" || fail "the record of run $1"; }
at() { printf '%3d s  %s\n' "$SECONDS" "$*"; }

python3 -B tests/integration/make_vtab.py "$SNELL_BOX/cifar"
"$SNELL_PROGRAM" convert datasets/vtab/cifar.yaml "$SNELL_BOX/cifar" "$SNELL_BOX/cifar.h5" >/dev/null
job=(experiment=vtab/snell32/cifar "data.file=$SNELL_BOX/cifar.h5" train.epochs=12 train.eval_interval=0 train.eval_last=1
  backbone.image_size=32 backbone.patch_size=8 backbone.embed_dim=48 backbone.depth=2 backbone.num_heads=3
  backbone.weights= run.log_every=1 checkpoint.every_steps=10 checkpoint.every_epochs=0)
endless=("${job[@]}" train.epochs=100000)
# submit NAME SCRIPT OPTIONS… -- OVERRIDES…
submit() {
  local name=$1 script=$2
  local -a options=()
  shift 2
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  sbatch --parsable --job-name="$name" --output="$log/$name-%j.log" "${options[@]}" "slurm/$script" "$@" \
    "run.dir=$runs/$name"
}
submit_a() { SNELL_LAUNCHER=mpirun submit a train.sbatch --ntasks-per-node=2 -- "${job[@]}" train.epochs=6; }
submit_b() { SNELL_LAUNCHER=srun submit b train.sbatch --ntasks-per-node=1 --time=2 --signal=B:USR1@115 -- "${endless[@]}"; }
submit_e() { SNELL_LAUNCHER=mpirun submit e train.sbatch --nodes=2 --ntasks-per-node=1 -- "${job[@]}" train.max_steps=20; }
sweep() {
  "$SNELL_PROGRAM" slurm sweep "${job[@]}" train.max_steps=20 --run-dir "$runs/sweep" --name d --ranks-per-node 1 --submit "$@"
}

# A program of one long step; a sleep would not outlive the SIGTERM.
cat >"$SNELL_BOX/slow" <<'END'
#!/usr/bin/env bash
[ "$1" = train ] || exec "$SNELL_REAL" "$@"
trap 'stop=1' USR1 TERM
: >"$SNELL_READY_FILE"
: >"$SNELL_BOX/slow.up"
until [ -n "${stop:-}" ]; do sleep 0.1; done
SECONDS=0
until [ $SECONDS -ge 5 ]; do sleep 0.1; done
: >"$SNELL_BOX/slow.saved"
exit 85
END
chmod +x "$SNELL_BOX/slow"
a=$(submit_a)
b=$(submit_b)
f=$(SNELL_PROGRAM="$SNELL_BOX/slow" SNELL_LAUNCHER=mpirun submit f train.sbatch --ntasks-per-node=1 -- "${job[@]}")
c=$(submit c preemptible.sbatch --partition=grace --nodes=2 --ntasks-per-node=1 -- "${job[@]}")
g=$(SNELL_LAUNCHER=mpirun submit g preemptible.sbatch --partition=low --ntasks-per-node=1 -- "${job[@]}")
d=$(cd "$log" && sweep seed=0,1)
at "a, b, c, f, g and the sweep d are submitted"

wait_for 90 "the start of f" test -e "$SNELL_BOX/slow.up"
scancel "$f"

wait_for 90 "a checkpoint of a" has_checkpoint a
scancel --full --signal=KILL "$a"
wait_for 60 "the end of a, killed" has_state "$a" "FAILED|CANCELLED|NODE_FAIL"
a=$(submit_a)
at "a: killed (SIGKILL to all its processes), submitted again"

wait_for 90 "a checkpoint of c" has_checkpoint c
wait_for 90 "a checkpoint of g" has_checkpoint g
high=$(sbatch --parsable --partition=high --nodes=2 --exclusive --output="$log/high-%j.log" --wrap "hostname")
at "c, g: a job of a better partition wants their nodes"

wait_for 90 "a's resume" has_events a resume 1
wait_for 60 "a step of a after that" has_events a step 15
scancel "$a"
wait_for 60 "the end of a, cancelled" has_state "$a" CANCELLED
has_events a stop 1 || fail "a did not save when it was cancelled"
a=$(submit_a)
at "a: cancelled, saved, submitted again"

wait_for 60 "the end of f" has_state "$f" CANCELLED
[ -e "$SNELL_BOX/slow.saved" ] || fail "f got no time to save when it was cancelled"
grep -q "exit code 85" "$log/f-$f.log" || fail "f's exit code did not come through"
at "f: cancelled, saved after five seconds"

wait_for 90 "the end of the sweep" has_state "$d" COMPLETED
[ "$(ls "$runs/sweep")" = "seed=0
seed=1" ] || fail "the sweep's folders are: $(ls "$runs/sweep")"
began=$SECONDS
d=$(sbatch --parsable --array=0-2 --ntasks-per-node=1 --output="$log/slurm-d-%A_%a.log" slurm/sweep.sbatch \
  "${job[@]}" train.max_steps=20 --run-dir "$runs/sweep" seed=0,1,2)
at "d: finished; submitted again with sweep.sbatch and one point more"

wait_for 90 "b back in the queue" has_events b resume 1
[ "$(restarts "$b")" -ge 1 ] || fail "b went on, but not as the same job"
grep -q "exit code 85" "$log/b-$b.log" || fail "b did not end with 85 at Slurm's signal"
at "b: its time was over, back from the queue under the same id"
resumes=$(events b resume)
step=$(tail -n 1 "$runs/b/metrics.jsonl" | grep -oP '"step": ?\K\d+')
wait_for 60 "a checkpoint of b after that" has_events b step $((step + 15))
kill_node "$(squeue -h -j "$b" -o %N)"
wait_for 90 "b on another node" has_events b resume $((resumes + 1))
at "b: its node died, went on from the last checkpoint on $(squeue -h -j "$b" -o %N)"
scancel "$b"
wait_for 60 "the end of b" has_state "$b" CANCELLED
resumes=$(events b resume)
at "b: cancelled"
check b "$resumes"

wait_for 90 "the end of the sweep's third point" has_state "$d" COMPLETED
grep -q "finished before" "$log"/slurm-d-"${d}"_0.log || fail "a finished point of the sweep did not end at once"
at "d: done after $((SECONDS - began)) s"
for seed in 0 1 2; do check "sweep/seed=$seed" 0 finished; done

# A program whose version is another on each node.
printf '#!/bin/sh\nhostname\n' >"$SNELL_BOX/odd"
chmod +x "$SNELL_BOX/odd"
code=0
SNELL_PROGRAM="$SNELL_BOX/odd" sbatch --wait --nodes=2 --output="$log/odd.log" --wrap "launch/mpirun.sh --check" >/dev/null || code=$?
[ $code = 2 ] && grep -q "the nodes run different programs" "$log/odd.log" || fail "programs that differ: exit code $code"
e=$(submit_e)
wait_for 90 "the end of e" has_state "$e" "COMPLETED|FAILED"
has_state "$e" COMPLETED || fail "e ended as $(state "$e")"
grep -q "node n[1-4]: .*" "$log/e-$e.log" || fail "e did not look at its nodes"
check e 0 finished
at "e: finished on two nodes"

wait_for 120 "the end of a" has_state "$a" "COMPLETED|FAILED"
has_state "$a" COMPLETED || fail "a ended as $(state "$a")"
check a 2 finished

wait_for 120 "the end of the better job" has_state "$high" COMPLETED
declare -A preempted=([c]=$c [g]=$g)
for name in c g; do
  id=${preempted[$name]}
  wait_for 120 "the end of $name" has_state "$id" "COMPLETED|FAILED"
  has_state "$id" COMPLETED || fail "$name ended as $(state "$id")"
  [ "$(restarts "$id")" = 1 ] || fail "$name returned to the queue $(restarts "$id") times"
  has_events $name stop 1 || fail "$name did not save when it was preempted"
  check $name 1 finished
done
at "c, g: preempted, saved, back from the queue under the same id, finished"
