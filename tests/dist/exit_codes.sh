#!/usr/bin/env bash
# exit_codes.sh PROGRAM COUNTER mpirun…: what a launcher sees of a rank's failure, and what the traffic counter writes.
set -u
program=$1 counter=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expect() {  # expect CODE TEXT command…
  local code=$1 text=$2
  shift 2
  output=$("$@" 2>&1)
  local got=$?
  if [[ $got != "$code" ]] || ! grep -q "$text" <<<"$output"; then
    echo "FAILED: expected exit code $code and '$text', got $got from: $*"
    echo "$output"
    exit 1
  fi
}

expect 0 "ranks 2, launched 1" "$@" -np 2 "$program" fine
expect 3 "rank 1 on .*: no such file" "$@" -np 2 "$program" agreed
expect 5 "the loss is NaN" "$@" -np 2 "$program" alone
expect 5 "while a collective is under way" "$@" -np 2 "$program" unwinding

# Without mpirun: a world of one. With srun but no MPI: refused.
expect 0 "ranks 1, launched 0" "$program" fine
SLURM_STEP_NUM_TASKS=2 expect 2 "srun --mpi=pmix" "$program" fine

expect 0 "ranks 2" "$@" -x LD_PRELOAD="$counter" -x SNELL_PMPI_COUNT_FILE="$folder/count" -np 2 "$program" fine
for rank in 0 1; do
  grep -qx "snell.gradients 1 4000" "$folder/count.$rank" || { echo "FAILED: count.$rank"; cat "$folder"/*; exit 1; }
done
echo "exit codes as documented"
