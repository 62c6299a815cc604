#!/usr/bin/env bash
# clang-format over the project's C++ (the version the set-up installs: others lay lines out differently).
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
"$root/tests/support/can_run.sh" tool:clang-format-14 || exit $?
cd "$root" || exit 1
mapfile -t files < <(find include src tests cmake bench -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null | sort)
[ ${#files[@]} -gt 0 ] || { echo "no C++ sources under $root" && exit 1; }
clang-format-14 --dry-run -Werror "${files[@]}" || {
  echo "mend it with: clang-format-14 -i FILE"
  exit 1
}
echo "${#files[@]} files are laid out as .clang-format asks"
