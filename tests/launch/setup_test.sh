#!/usr/bin/env bash
# launch/setup.sh where nothing may be installed: its complaints, its list, and a LibTorch of one's own.
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
setup="$root/launch/setup.sh"
unset SNELL_TORCH_DIR SNELL_PYTHON SNELL_SETUP_TESTS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SNELL_DEPS_DIR="$work/deps"
failures=0
cases=0

# expect CODE PATTERN COMMAND…
expect() {
  local code=$1 pattern=$2 said
  shift 2
  said=$("$@" 2>&1 </dev/null)
  local got=$?
  cases=$((cases + 1))
  if [ $got != "$code" ] || ! grep -qE -e "$pattern" <<<"$said"; then
    failures=$((failures + 1))
    printf 'FAILED: %s\n  wanted exit %s and /%s/, got exit %s and:\n%s\n' "$*" "$code" "$pattern" "$got" "$said"
  fi
}

# A LibTorch of the given version, as far as the set-up looks at one.
fake_torch() {
  mkdir -p "$work/torch-$1/lib" "$work/torch-$1/include/torch/csrc/api/include/torch"
  : >"$work/torch-$1/lib/libtorch_cpu.so"
  echo "#define TORCH_VERSION \"$1\"" >"$work/torch-$1/include/torch/csrc/api/include/torch/version.h"
}
fake_torch 2.6.1

# Tools without compilers, MPI and libraries: a PATH with the shell's own tools only.
mkdir "$work/bin"
for tool in bash env cat cut dirname grep head id mkdir sed sha256sum sort tr readlink flock uname; do
  ln -s "$(command -v $tool)" "$work/bin/$tool"
done

expect 0 'usage: launch/setup.sh' "$setup" --help
expect 2 "knows no option '--root'" "$setup" --root
expect 0 'found    HDF5' "$setup" --list
expect 1 'MISSING  Open MPI 4 compiler wrapper \(mpicc\): package libopenmpi-dev' env PATH="$work/bin" CXX= "$setup" --no-root
expect 1 'name their folders in CMAKE_PREFIX_PATH' env PATH="$work/bin" CXX= "$setup" --no-root
expect 1 'neither Debian nor Ubuntu: going on as --no-root' env PATH="$work/bin" CXX= "$setup"
expect 2 'holds no lib/libtorch_cpu.so' env SNELL_TORCH_DIR=/no/such "$setup" --no-root
expect 2 'LibTorch 2.6.1 .* is too old: 2.7 or later' env SNELL_TORCH_DIR="$work/torch-2.6.1" "$setup" --no-root
expect 2 'SNELL_PYTHON=/bin/false is not a Python' env SNELL_PYTHON=/bin/false "$setup" --no-root
[ "$(id -u)" = 0 ] || expect 1 'cannot write to /proc/deps' env SNELL_DEPS_DIR=/proc/deps "$setup" --no-root

echo "$cases cases, $failures failures"
[ $failures = 0 ]
