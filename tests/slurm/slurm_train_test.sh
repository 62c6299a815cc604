#!/usr/bin/env bash
# Submits slurm/train.sbatch to a real Slurm: killed in the middle, submitted again, asked to stop (USR1) and requeued
# by itself, it must go on from its checkpoints each time and finish.
#   slurm_train_test.sh LAUNCHER PROGRAM        LAUNCHER: mpirun or srun (slurm/site.sh); PROGRAM: build/bin/snell
# The job: the published recipe of VTAB-1k's cifar with a small ViT, on generated pictures; some fifteen seconds.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
"$root/tests/support/can_run.sh" slurm || exit $?

launcher=$1
export SNELL_PROGRAM=$2
box=$(mktemp -d /tmp/snell-slurm.XXXXXX)
run="$box/run"
trap '"$here/slurm_box.sh" stop "$box"; rm -rf "$box"' EXIT
"$here/slurm_box.sh" start "$box"
export SLURM_CONF="$box/slurm.conf" SNELL_ROOT="$root" SNELL_LAUNCHER="$launcher" TMPDIR="$box/tmp"
cd "$root"

python3 -B tests/integration/make_vtab.py "$box/cifar"
"$SNELL_PROGRAM" convert datasets/vtab/cifar.yaml "$box/cifar" "$box/cifar.h5"
train=(experiment=vtab/snell32/cifar "data.file=$box/cifar.h5" train.epochs=20 backbone.image_size=32
  backbone.patch_size=8 backbone.embed_dim=48 backbone.depth=2 backbone.num_heads=3 backbone.weights= run.log_every=5
  checkpoint.every_steps=10 checkpoint.every_epochs=0)

fail() {
  echo "FAILED: $*" >&2
  tail -n 40 "$box"/job-*.log "$box/slurmctld.log" >&2
  tail -n 5 "$run/metrics.jsonl" >&2
  exit 1
}
submit() { sbatch --parsable --ntasks-per-node=2 --output="$box/job-%j.log" slurm/train.sbatch "$@" "run.dir=$run"; }
state() { scontrol show job "$1" | grep -oP 'JobState=\K\S+'; }
events() { grep -cE "\"event\": ?\"$1\"" "$run/metrics.jsonl" 2>/dev/null || true; }
wait_for() { # SECONDS WHAT COMMAND…
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $limit ] || fail "waited in vain for: $what"
    sleep 0.2
  done
}
has_checkpoint() { [ -n "$(ls "$run/checkpoints" 2>/dev/null)" ]; }
has_events() { [ "$(events "$1")" -ge "$2" ]; }
has_state() { [[ "$(state "$1")" =~ ^($2)$ ]]; }

echo "1. submitted, and killed (SIGKILL to everything) once there is a checkpoint"
job=$(submit "${train[@]}")
wait_for 90 "a checkpoint" has_checkpoint
scancel --full --signal=KILL "$job"
wait_for 60 "the killed job's end" has_state "$job" "FAILED|CANCELLED|NODE_FAIL"
[ "$(events finish)" = 0 ] || fail "the run had finished before it was killed"

echo "2. submitted again: goes on from the checkpoint; then asked to save and stop"
job=$(submit "${train[@]}")
wait_for 90 "the first resume" has_events resume 1
scancel --batch --signal=USR1 "$job"
wait_for 60 "exit code 85 and the way back into the queue" grep -q "exit code 85" "$box/job-$job.log"

echo "3. requeued by itself: goes on and finishes"
wait_for 120 "the second resume" has_events resume 2
wait_for 120 "the end of the job" has_state "$job" "COMPLETED|FAILED"
has_state "$job" COMPLETED || fail "the requeued job ended as $(state "$job")"
[ "$(scontrol show job "$job" | grep -oP 'Restarts=\K\d+')" = 1 ] || fail "the job was not requeued exactly once"
[ "$(events finish)" = 1 ] || fail "metrics.jsonl has no finish event"
echo "passed: $(events resume) resumes"
