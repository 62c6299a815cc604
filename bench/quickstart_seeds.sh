#!/usr/bin/env bash
# The quickstart's table over several seeds: trains each method on the 1,000 digits with the learning rate that the
# quickstart chose, and prints the accuracy on the other 4,000 of each seed and the mean.
#   bench/quickstart_seeds.sh "0 1 2" linear=1e-1 snell=4e-2 klora=1e-2 full=2e-3
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
cd "$SNELL_ROOT"
[ $# -ge 2 ] || die 2 "usage: bench/quickstart_seeds.sh \"SEEDS\" METHOD=LEARNING_RATE ..."
seeds=$1
shift
for pair in "$@"; do
  method=${pair%%=*} rate=${pair#*=}
  results=()
  for seed in $seeds; do
    run=runs/seeds/$method-$rate-$seed
    launch/mpirun.sh -n 2 --quiet -- train "experiment=quickstart/$method" "optim.lr=$rate" "seed=$seed" "run.dir=$run" \
      checkpoint.every_epochs=20 >/dev/null 2>&1 || die 1 "the run $run failed; its log lies in $run/logs"
    results+=("$(grep -h '"event":"finish"' "$run/metrics.jsonl" | tail -n 1 | grep -oP '"last":\K[0-9.]+')")
  done
  mean=$(printf '%s\n' "${results[@]}" | awk '{ sum += $1 } END { printf "%.2f", sum / NR }')
  printf '%-7s lr %-6s mean %s   seeds: %s\n' "$method" "$rate" "$mean" "${results[*]}"
done
