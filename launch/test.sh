#!/usr/bin/env bash
# Sets everything up, builds, and passes every test; says at the end what could not run here and why.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$SNELL_ROOT/launch/versions.sh"

usage() {
  cat <<'END'
usage: launch/test.sh [--quick] [--long] [--jobs N] [--help]

  1 set-up   2 build (cpu-release)   3 all tests   4 CUDA build, where a toolkit is found; GPU tests, where a GPU is
  5 unit tests under AddressSanitizer and UBSan   6 fuzzing of the weight files' parsers, 30 s each

  --quick    without 4, 5 and 6
  --long     also the tests labelled "long"
  --jobs N   compilers and tests at a time (default: cores, as far as the memory goes)

With CI=true in the environment only tests that need a GPU may be missing; else a missing test is listed, no failure.
END
}

quick=0 jobs="" exclude=(-LE long)
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1 ;;
    --long) exclude=() ;;
    --jobs) [ $# -ge 2 ] && jobs=$2 && shift || die 2 "--jobs needs a number" ;;
    -h | --help) usage && exit 0 ;;
    *) die 2 "launch/test.sh knows no option '$1'; see launch/test.sh --help" ;;
  esac
  shift
done
: "${jobs:=$(build_jobs)}"
is_whole_number "$jobs" || die 2 "--jobs '$jobs' must be a whole number, at least 1"

cd "$SNELL_ROOT"
exec </dev/null
allow_mpi_as_root
passed=()
failed=()
verdict() { # verdict CODE WHAT
  if [ "$1" = 0 ]; then passed+=("$2"); else failed+=("$2"); fi
}

step "Set-up"
SNELL_SETUP_TESTS=1 launch/setup.sh
PATH="$SNELL_DEPS_DIR/venv/bin:$PATH"

step "Build (cpu-release)"
build cpu-release "$jobs"

step "Tests"
code=0
show ctest --preset cpu-release "${exclude[@]}" -j "$jobs" --output-junit "$SNELL_ROOT/build/tests.xml" || code=$?
verdict $code "tests of the cpu-release build"

if [ $quick = 0 ]; then
  toolkit=$(cuda_toolkit "$SNELL_CUDA_MAJOR")
  if [ -n "$toolkit" ]; then
    step "CUDA and NCCL: compile and link (cuda-release, toolkit $toolkit)"
    # Its tests are built only where they can run: without a GPU they would repeat those of the CPU build.
    has_gpu=OFF
    tests/support/can_run.sh gpu >/dev/null && has_gpu=ON
    code=0
    PATH="$toolkit/bin:$PATH" build cuda-release "$jobs" -DSNELL_TESTS=$has_gpu || code=$?
    verdict $code "CUDA build"
    if [ $has_gpu = ON ] && [ $code = 0 ]; then
      code=0
      quietly gpu-tests.log ctest --test-dir build-cuda -L gpu --no-tests=error --output-on-failure || code=$?
      verdict $code "GPU tests"
    fi
  fi

  step "Unit tests under AddressSanitizer and UBSan (cpu-asan)"
  quietly configure-cpu-asan.log cmake --preset cpu-asan || die 1 "the cpu-asan build could not be configured; CMake's words are above"
  code=0
  cmake --build --preset cpu-asan -j "$jobs" --target unit_tests || code=$?
  [ $code != 0 ] || quietly asan-unit-tests.log ctest --test-dir build-asan -L '^unit$' -j "$jobs" --output-on-failure || code=$?
  verdict $code "unit tests under ASan and UBSan"

  step "Fuzzing the parsers of weight files, 30 s each"
  code=0
  tests/fuzz/run.sh --seconds 30 --jobs "$jobs" || code=$?
  # Without the compiler (77) it is a missing test.
  if [ $code = 77 ] && [ "${CI:-}" != true ]; then warn "the parsers were not fuzzed"; else verdict $code "fuzzing of the parsers"; fi
fi
steps_done "All steps"

# --- summary --------------------------------------------------------------------------------------------------------
printf '\nPassed:\n'
printf '  %s\n' "${passed[@]:-nothing}"
code=0
python3 tests/support/list_missing.py build/tests.xml || code=$?
[ $code = 0 ] || failed+=("tests are missing that must run with CI=true")
if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFAILED:\n'
  printf '  %s\n' "${failed[@]}"
  exit 1
fi
printf '\nEverything that can run on this machine passed.\n'
