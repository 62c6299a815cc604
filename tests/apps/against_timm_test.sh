#!/usr/bin/env bash
# against_timm_test.sh PROGRAM: bench/step_against_timm.sh on a small model, start to end.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
"$root/tests/support/can_run.sh" python-tests || exit $?
export SNELL_PROGRAM=$1
said=$("$root/bench/step_against_timm.sh" 2 1 1 1 vit_tiny_patch16_224)
echo "$said"
grep -Eq '^round 2: snell [0-9.]+ s, timm [0-9.]+ s, ratio [0-9.]+$' <<<"$said"
grep -Eq '^median ratio [0-9.]+ ' <<<"$said"
"$root/bench/step_against_timm.sh" none 2>/dev/null && exit 1
[ $? -eq 2 ]
