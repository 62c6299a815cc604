#!/usr/bin/env bash
# Full fine-tuning of ViT-B/16 here and in Python's timm, by turns: ROUNDS times a few steps of each, and the ratio of
# this program's seconds to timm's, round by round and its median.
#   bench/step_against_timm.sh [ROUNDS=3] [THREADS=2] [BATCH=8] [STEPS=3] [MODEL=vit_base_patch16_224]
# SNELL_PROGRAM: another program than build/bin/snell.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
cd "$SNELL_ROOT"
rounds=${1:-3} threads=${2:-2} batch=${3:-8} steps=${4:-3} model=${5:-vit_base_patch16_224}
snell=${SNELL_PROGRAM:-build/bin/snell}
for number in "$rounds" "$threads" "$batch" "$steps"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || die 2 "usage: bench/step_against_timm.sh [ROUNDS=3] [THREADS=2] [BATCH=8] [STEPS=3] [MODEL=vit_base_patch16_224]"
done
[ -x "$snell" ] || die 1 "there is no $snell; launch/quickstart.sh builds it"
[ -d "$SNELL_DEPS_DIR/python-tests/timm" ] || die 1 "there is no timm; SNELL_SETUP_TESTS=1 launch/setup.sh installs it"

# What both are told the same way.
export OMP_NUM_THREADS=$threads PYTHONPATH="$SNELL_DEPS_DIR/python-tests" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
export HF_HUB_OFFLINE=1
python="$SNELL_DEPS_DIR/venv/bin/python"
median_of() { "$python" -c 'import json, sys; told = json.load(sys.stdin); print(told.get("rows", [told])[0]["seconds_median"])'; }

ratios=()
for ((round = 1; round <= rounds; ++round)); do
  timm=$("$python" bench/timm_step.py --model "$model" --batch "$batch" --threads "$threads" --steps "$steps" --json | median_of)
  ours=$("$snell" bench step rows=full "backbone=$model" "rounds=$steps" "run.threads=$threads" run.device=cpu "data.batch_size=$batch" \
    --json 2>/dev/null | median_of)
  ratios+=("$(awk "BEGIN { print $ours / $timm }")")
  printf 'round %d: snell %.3f s, timm %.3f s, ratio %.3f\n' "$round" "$ours" "$timm" "${ratios[-1]}"
done
printf '%s\n' "${ratios[@]}" | sort -g |
  awk '{ r[NR] = $1 } END { printf "median ratio %.3f (1: as fast as timm; below 1: faster)\n", (r[int((NR + 1) / 2)] + r[int(NR / 2) + 1]) / 2 }'
