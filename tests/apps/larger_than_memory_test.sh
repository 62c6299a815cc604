#!/usr/bin/env bash
# larger_than_memory_test.sh PROGRAM: bench/larger_than_memory.sh on a small model, start to end.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export SNELL_PROGRAM=$1
said=$("$root/bench/larger_than_memory.sh" vit_tiny_patch16_224 1 backbone.depth=2)
echo "$said"
grep -Eq '^step 1: loss [0-9.]+, [0-9.]+ s$' <<<"$said"
grep -Eq '^weights [0-9]+ MB; peak anonymous memory \(RssAnon\) [1-9][0-9]+ MB; peak resident .* [1-9][0-9]+ MB$' <<<"$said"
"$root/bench/larger_than_memory.sh" vit_tiny_patch16_224 none 2>/dev/null && exit 1
[ $? -eq 2 ]
