#!/usr/bin/env bash
# Time and memory of a SNELL-32 step with frozen weights kept in each kind (docs/weights.md).
#   bench/frozen_kinds.sh [BACKBONE=vit_base_patch16_224] [ROUNDS=3] [SETTING...]
# SNELL_PROGRAM: another program than build/bin/snell. TMPDIR: where the weight file is written, and removed from.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
cd "$SNELL_ROOT"
backbone=${1:-vit_base_patch16_224} rounds=${2:-3}
shift $(($# < 2 ? $# : 2))
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die 2 "usage: bench/frozen_kinds.sh [BACKBONE=vit_base_patch16_224] [ROUNDS=3] [SETTING...]"
snell=${SNELL_PROGRAM:-build/bin/snell}
[ -x "$snell" ] || die 1 "there is no $snell; launch/quickstart.sh builds it"
folder=$(mktemp -d "${TMPDIR:-/tmp}/snell-kinds-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$snell" weights make "$folder/weights.safetensors" "backbone=$backbone" >/dev/null

printf '%-10s %10s %8s %12s %18s\n' kind 's a step' least 'model, MB' 'peak above it, MB'
for kind in plain bfloat16 int8 mapped plain; do
  "$snell" bench step rows=snell "rounds=$rounds" "backbone=$backbone" "backbone.weights=$folder/weights.safetensors" \
    "backbone.frozen_storage=$kind" run.device=cpu "$@" --json 2>/dev/null |
    python3 -c 'import json, sys
row = json.load(sys.stdin)["rows"][0]
print("%-10s %10.3f %8.3f %12.0f %18.0f" % (sys.argv[1], row["seconds_median"], row["seconds_min"], row["model_bytes"] / 1e6,
                                             row["peak_bytes_above_model"] / 1e6))' "$kind"
done
