#!/usr/bin/env bash
# slurm/common.sh without a Slurm: exit codes that are handed on, those that return to the queue and how often, a finished
# point of a sweep, a signal that comes before the ranks are up. Program, srun, scontrol and sleep are stand-ins.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset "${!SNELL_@}" "${!SLURM_@}"
export SNELL_ROOT=$root SNELL_LAUNCHER=srun SLURM_JOB_ID=7 SLURM_JOB_NAME=it SLURM_NTASKS=1 RUN="$work/run"
export PATH="$work/bin:$PATH" SNELL_PROGRAM="$work/bin/program"
mkdir -p "$work/bin" "$RUN"
failures=0
cases=0

cat >"$work/bin/program" <<'END'
#!/usr/bin/env bash
if [ "$1" = slurm ]; then
  [ -z "${MISTAKE:-}" ] || { echo "snell: unknown key" >&2 && exit 2; }
  printf '%s\n' "$RUN" "seed=1" "run.name='a b'"
  exit
fi
printf '%s\n' "$@" >"$RUN/arguments"
if [ -n "${SLOW_START:-}" ]; then
  trap 'exit 3' USR1 # as before a program catches it
  kill -USR1 "$SCRIPT"
  /usr/bin/env sleep 1
  trap 'exit 85' USR1
  : >"$SNELL_READY_FILE"
  for ((i = 0; i < 100; i++)); do /usr/bin/env sleep 0.1; done
fi
[ -z "${SAVES:-}" ] || mkdir -p "$RUN/checkpoints/step-$(date +%s%N)"
exit "$CODE"
END
cat >"$work/bin/srun" <<'END'
#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
END
printf '#!/bin/sh\necho "scontrol $*"\n' >"$work/bin/scontrol"
printf '#!/bin/sh\n[ "$1" = 30 ] || exec /usr/bin/env -i /bin/sleep "$1"\n' >"$work/bin/sleep"
chmod +x "$work"/bin/*

# expect CODE PATTERN SCRIPT: the batch script's exit code and what it says; a PATTERN with '!' in front must not be said.
expect() {
  local code=$1 pattern=$2 said got=0
  said=$(bash -c 'export SCRIPT=$$; exec bash "$@"' _ "$root/slurm/$3" a=b 2>&1) || got=$?
  cases=$((cases + 1))
  local matches=0
  grep -qE -e "${pattern#!}" <<<"$said" && matches=1
  if [ $got != "$code" ] || { [[ "$pattern" == !* ]] && [ $matches = 1 ]; } || { [[ "$pattern" != !* ]] && [ $matches = 0 ]; }; then
    failures=$((failures + 1))
    printf 'FAILED: %s\n  wanted exit %s and /%s/, got exit %s and:\n%s\n' "$3" "$code" "$pattern" "$got" "$said"
  fi
}

CODE=0 expect 0 '!requeue' train.sbatch
[ "$(tr '\n' ' ' <"$RUN/arguments")" = "train seed=1 run.name='a b' run.resume=auto " ] || failures=$((failures + 1))
for code in 1 3 5 6 75 124 137; do CODE=$code expect $code '!requeue' train.sbatch; done
MISTAKE=1 CODE=0 expect 2 'unknown key' train.sbatch
for code in 85 143; do SAVES=1 CODE=$code expect $code 'scontrol requeue 7' train.sbatch; done
for code in 85 124 137 143 205; do SAVES=1 CODE=$code expect $code 'scontrol requeue 7' preemptible.sbatch; done
SLURM_RESTART_COUNT=100 SAVES=1 CODE=85 expect 85 'SNELL_MAX_REQUEUES\): giving up' train.sbatch
CODE=85 expect 85 'scontrol requeue 7' train.sbatch
CODE=85 expect 85 'scontrol requeue 7' train.sbatch
CODE=85 expect 85 '3 times without a new checkpoint .*giving up' train.sbatch
CODE=85 expect 85 'scontrol requeue 7' train.sbatch
SLOW_START=1 CODE=0 expect 85 'asking the run to save and stop' train.sbatch
SNELL_LAUNCHER=rsh CODE=0 expect 2 'must be auto, mpirun or srun' train.sbatch

CODE=0 expect 2 'a sweep is a job array' sweep.sbatch
SLURM_ARRAY_TASK_ID=0 CODE=3 expect 3 'exit code 3' sweep.sbatch
printf '{"event": "finish", "step": 9}\n' >"$RUN/metrics.jsonl"
printf -- "# snell\n- 'seed=1'\n- 'run.name='a b''\n- 'run.resume=auto'\n" >"$RUN/overrides.yaml"
SLURM_ARRAY_TASK_ID=0 CODE=3 expect 0 'finished before' sweep.sbatch
sed -i 's/seed=1/seed=2/' "$RUN/overrides.yaml"
SLURM_ARRAY_TASK_ID=0 CODE=3 expect 3 '!finished before' sweep.sbatch

echo "$cases cases, $failures failures"
[ $failures = 0 ]
