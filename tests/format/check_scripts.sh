#!/usr/bin/env bash
# Every shell script parses, is executable where it is run by name, and passes shellcheck where that is installed.
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root" || exit 1
mapfile -t scripts < <(find .ci launch slurm tests -type f \( -name '*.sh' -o -name '*.sbatch' -o -path .ci/run \) | sort)
failed=0
for script in "${scripts[@]}"; do
  bash -n "$script" || failed=1
  if head -n 1 "$script" | grep -q '^#!' && [ ! -x "$script" ]; then
    echo "$script starts with #! and is not executable"
    failed=1
  fi
done
if command -v shellcheck >/dev/null; then
  shellcheck --severity=warning --external-sources --exclude=SC1091 "${scripts[@]}" || failed=1
fi
echo "${#scripts[@]} scripts checked"
exit $failed
