#!/usr/bin/env bash
# A test double for `snell train`: 60 steps of 0.2 s, a checkpoint every 5, the run folder's layout, the resume, the
# ready file and the exit codes of the real one. Lets the batch script be tested apart from training.
set -u
[ "$1" = train ] || exit 2
for argument in "$@"; do
  case "$argument" in run.dir=*) run=${argument#run.dir=} ;; esac
done
rank=${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-0}}
must_stop=0
trap 'must_stop=1' USR1
step=$(ls "$run/checkpoints" 2>/dev/null | sort -n | tail -n 1)
if [ "$rank" = 0 ]; then
  mkdir -p "$run/checkpoints"
  [ -z "$step" ] || echo "{\"event\":\"resume\",\"step\":$step}" >>"$run/metrics.jsonl"
  : >"$SNELL_READY_FILE"
fi
for ((step = ${step:-0} + 1; step <= 60; step++)); do
  sleep 0.2
  if [ "$rank" = 0 ]; then
    echo "{\"event\":\"step\",\"step\":$step}" >>"$run/metrics.jsonl"
    [ $((step % 5)) != 0 ] && [ $must_stop = 0 ] || mkdir -p "$run/checkpoints/$step"
  fi
  [ $must_stop = 0 ] || exit 85
done
[ "$rank" != 0 ] || echo '{"event":"finish"}' >>"$run/metrics.jsonl"
