# shellcheck shell=bash
# What every batch script does: a stable run folder, starting the ranks, signals, the way back into the queue. Sourced by
# slurm/*.sbatch and by the scripts of `snell slurm`, never run. Expects SNELL_ROOT, and bash's strict mode.
#
#   snell_train ARGUMENTS…    one run
#   snell_sweep ARGUMENTS…    the point SLURM_ARRAY_TASK_ID of a sweep; one that is finished ends at once
#
# ARGUMENTS are those of `snell slurm train` and `snell slurm sweep`. Both end the script, with the run's exit code.

source "$SNELL_ROOT/launch/common.sh"
source "$SNELL_ROOT/slurm/site.sh"
if [ -n "${SLURM_GPUS_ON_NODE:-}" ]; then
  : "${SNELL_PROGRAM:=$SNELL_ROOT/build-cuda/bin/snell}"
else
  : "${SNELL_PROGRAM:=$SNELL_ROOT/build/bin/snell}"
fi
# Where runs lie whose folder nobody names (configs/config.yaml).
: "${SNELL_RUNS:=$SNELL_RUNS_DIR}"
export SNELL_ROOT SNELL_PROGRAM SNELL_RUNS
[ -z "${SNELL_PREEMPTIBLE:-}" ] || SNELL_REQUEUE_CODES="$SNELL_REQUEUE_CODES $SNELL_LOST_CODES"

say() { printf '[slurm] %s\n' "$*"; }

# --- the job --------------------------------------------------------------------------------------------------------
snell_train() { snell_job train 0 "$@"; }

snell_sweep() {
  [ -n "${SLURM_ARRAY_TASK_ID:-}" ] || die 2 "a sweep is a job array: sbatch --array=0-LAST slurm/sweep.sbatch …"
  snell_job sweep "$SLURM_ARRAY_TASK_ID" "$@"
}

snell_job() {
  local kind=$1 point=$2 resolved code=0
  shift 2
  must_stop=0
  must_end=0
  trap 'must_stop=1' USR1
  trap 'must_stop=1; must_end=1' TERM # cancelled or preempted: Slurm itself decides what comes next
  # The folder, and the overrides of this job alone; a mistake in the config shows here, before any rank starts.
  resolved=$("$SNELL_PROGRAM" slurm "$kind" --point "$point" "$@") || exit $?
  mapfile -t overrides <<<"$resolved"
  run_dir=${overrides[0]}
  overrides=("${overrides[@]:1}")
  [[ " ${overrides[*]}" == *" run.resume="* ]] || overrides+=(run.resume=auto)
  say "job ${SLURM_JOB_ID:-none} on ${SLURM_JOB_NODELIST:-$(hostname)}, ${SLURM_NTASKS:-1} ranks, return" \
    "${SLURM_RESTART_COUNT:-0}, run folder $run_dir"
  if [ "$kind" = sweep ] && is_finished; then
    say "finished before, nothing to do"
    exit 0
  fi
  local before
  before=$(newest_checkpoint)
  run_ranks || code=$?
  say "the run ended with exit code $code"
  return_to_queue $code "$before"
  exit $code
}

# Whether the run in run_dir came to its end with these same overrides; a longer schedule is another matter.
is_finished() {
  local override
  grep -q '"event": *"finish"' "$run_dir/metrics.jsonl" 2>/dev/null || return 1
  diff -q <(for override in "${overrides[@]}"; do printf -- "- '%s'\n" "$override"; done) \
    <(grep -v '^#' "$run_dir/overrides.yaml" 2>/dev/null) >/dev/null
}

newest_checkpoint() { find "$run_dir/checkpoints" -maxdepth 1 -name 'step-*' 2>/dev/null | sort | tail -n 1 || true; }

# --- ranks ----------------------------------------------------------------------------------------------------------
# mpirun or srun. On several nodes srun, where it speaks SNELL_SRUN_MPI: Slurm's SIGTERM then reaches the ranks alone,
# while mpirun's helpers on the other nodes end their ranks within two seconds.
choose_launcher() {
  case "$SNELL_LAUNCHER" in
    mpirun | srun) echo "$SNELL_LAUNCHER" ;;
    auto)
      if [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ] && srun --mpi=list 2>&1 | grep -qw -e "$SNELL_SRUN_MPI"; then
        echo srun
      else
        echo mpirun
      fi
      ;;
    *) die 2 "SNELL_LAUNCHER=$SNELL_LAUNCHER must be auto, mpirun or srun (slurm/site.sh)" ;;
  esac
}

start_ranks() {
  local launcher=$1
  local -a shield=() tasks=()
  if [ "$launcher" = mpirun ]; then
    # Slurm sends SIGTERM to every process of the job. The ranks save on it; mpirun would kill them a second later, so it
    # does not get to see it: a blocked signal stays blocked through exec, and mpirun unblocks it for its ranks.
    if env --block-signal=TERM true 2>/dev/null; then shield=(env --block-signal=TERM); fi
    exec "${shield[@]}" "$SNELL_ROOT/launch/mpirun.sh" -n "${SLURM_NTASKS:-1}" -- train "${overrides[@]}"
  fi
  if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then tasks=("--cpus-per-task=$SLURM_CPUS_PER_TASK"); fi
  if [ -z "${OMP_NUM_THREADS:-}" ]; then
    local each=${SLURM_CPUS_PER_TASK:-$((${SLURM_CPUS_ON_NODE:-1} * ${SLURM_JOB_NUM_NODES:-1} / ${SLURM_NTASKS:-1}))}
    export OMP_NUM_THREADS=$((each > 0 ? each : 1))
  fi
  # With a signal of its own a step would be left waiting for a rank that is gone.
  exec srun --mpi="$SNELL_SRUN_MPI" --kill-on-bad-exit=1 "${tasks[@]}" "$SNELL_PROGRAM" train "${overrides[@]}"
}

# Runs the ranks to their end and returns their exit code. USR1 means "save and stop" to the program; bash runs a trap
# only when its `wait` is interrupted, hence the child in the background. A signal that reaches mpirun while it still
# starts the ranks would crash it, so it is held back until the program has made SNELL_READY_FILE.
run_ranks() {
  local launcher child code=0 again=0
  launcher=$(choose_launcher) || return $?
  SNELL_READY_FILE="$(mktemp -u "${TMPDIR:-/tmp}/snell-ready-${SLURM_JOB_ID:-0}-XXXXXX")"
  export SNELL_READY_FILE
  start_ranks "$launcher" &
  child=$!
  while true; do
    if [ $must_stop = 1 ] && [ ! -e "$SNELL_READY_FILE" ] && kill -0 "$child" 2>/dev/null; then
      sleep 0.5 || true
      continue
    fi
    if [ $must_stop = 1 ]; then
      must_stop=0
      say "asking the run to save and stop"
      kill -USR1 "$child" 2>/dev/null || true
    fi
    code=0
    wait "$child" || code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  # A signal that came just as the child ended hides its exit code; bash still has it.
  if [ $code -gt 128 ]; then
    wait "$child" 2>/dev/null || again=$?
    [ $again = 127 ] || code=$again
  fi
  rm -f "$SNELL_READY_FILE"
  return $code
}

# --- back into the queue --------------------------------------------------------------------------------------------
# return_to_queue CODE CHECKPOINT_BEFORE: for the exit codes of SNELL_REQUEUE_CODES, unless Slurm is ending the job. A job
# that comes back again and again and saves nothing is given up.
return_to_queue() {
  local code=$1 before=$2 idle=0 notes="$run_dir/returns-without-progress"
  [ $must_end = 0 ] && [[ " $SNELL_REQUEUE_CODES " == *" $code "* ]] || return 0
  if [ "$(newest_checkpoint)" = "$before" ] && [ -d "$run_dir" ]; then
    idle=$(($(cat "$notes" 2>/dev/null || echo 0) + 1))
    echo $idle >"$notes" || true
  else
    rm -f "$notes"
  fi
  if [ $idle -ge "$SNELL_MAX_IDLE_REQUEUES" ]; then
    say "ended $idle times without a new checkpoint (SNELL_MAX_IDLE_REQUEUES): giving up"
    rm -f "$notes"
  elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$SNELL_MAX_REQUEUES" ]; then
    say "back in the queue $SLURM_RESTART_COUNT times already (SNELL_MAX_REQUEUES): giving up"
  elif scontrol requeue "$SLURM_JOB_ID"; then
    say "back into the queue; the run goes on from its checkpoint"
    sleep 30 || true # Slurm ends this script when it takes the job back
  else
    say "could not requeue; submit the same command again to go on"
  fi
}
