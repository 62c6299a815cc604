#!/usr/bin/env bash
# Fuzzes the parsers of weight files with libFuzzer under AddressSanitizer and UBSan (Debian: clang-16 and
# libclang-rt-16-dev). Seeds are the small fixtures; what was found goes to build-fuzz/findings/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() {
  cat <<'END'
usage: tests/fuzz/run.sh [--seconds N] [--jobs N] [--build-only] [--help] [TARGET…]

  --seconds N    for each target (default 30)
  --jobs N       targets, and compilers, at a time (default 2)
  --build-only   compile and link, no run
  TARGET         npz, torch_zip, torch_legacy, safetensors (default: all)
END
}

seconds=30 jobs=2 run=1 targets=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds | --jobs)
      [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || { echo "$1 needs a whole number, at least 1" >&2 && exit 2; }
      if [ "$1" = --jobs ]; then jobs=$2; else seconds=$2; fi
      shift
      ;;
    --build-only) run=0 ;;
    -h | --help) usage && exit 0 ;;
    npz | torch_zip | torch_legacy | safetensors) targets+=("$1") ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
[ ${#targets[@]} -gt 0 ] || targets=(npz torch_zip torch_legacy safetensors)

folder=build-fuzz weights=tests/fixtures/weights
mkdir -p $folder/{objects,bin,logs,findings}
command -v clang++-16 >/dev/null || { echo "clang++-16 is missing (Debian: clang-16 libclang-rt-16-dev)" >&2 && exit 77; }
compiler=(clang++-16)
command -v ccache >/dev/null && compiler=(ccache clang++-16)
flags=(-std=c++20 -O1 -g1 -D_GLIBCXX_ASSERTIONS -fno-omit-frame-pointer "-fsanitize=address,undefined" -fno-sanitize-recover=undefined)

# each FUNCTION ARGUMENT…: runs the function on each argument, $jobs at a time; fails when one has failed.
each() {
  local function=$1 argument failed=0 pids=()
  shift
  for argument; do
    if [ ${#pids[@]} -ge "$jobs" ]; then
      wait "${pids[0]}" || failed=1
      pids=("${pids[@]:1}")
    fi
    "$function" "$argument" &
    pids+=($!)
  done
  for argument in "${pids[@]}"; do wait "$argument" || failed=1; done
  return $failed
}

object_of() { echo "$folder/objects/${1//\//_}.o"; }
compile() { "${compiler[@]}" "${flags[@]}" -fsanitize=fuzzer-no-link -Iinclude -I. -c "$1" -o "$(object_of "$1")"; }

# The io module without HDF5, and what it needs of core.
build() {
  local source common=(src/core/text.cpp src/core/error.cpp) objects=()
  for source in src/io/*.cpp; do [ "$source" = src/io/hdf5.cpp ] || common+=("$source"); done
  for source in "${common[@]}"; do objects+=("$(object_of "$source")"); done
  for source in "${targets[@]}"; do common+=("tests/fuzz/${source}_fuzz.cpp"); done
  each compile "${common[@]}"
  for source in "${targets[@]}"; do
    clang++-16 "${flags[@]}" -fsanitize=fuzzer "${objects[@]}" "$(object_of "tests/fuzz/${source}_fuzz.cpp")" -lz \
      -o "$folder/bin/$source"
  done
}

# Files from which the target starts: all small ones of the formats, since each of them is a bad file for the others.
seeds() { find $weights tests/fixtures -maxdepth 1 -type f -size -32k \( -name '*.pth' -o -name '*.npz' -o -name '*.safetensors' \) | sort | paste -sd, -; }

fuzz() {
  local target=$1 code=0 log="$folder/logs/$1.log"
  mkdir -p "$folder/corpus/$target"
  ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=1 nice "$folder/bin/$target" "$folder/corpus/$target" \
    -seed_inputs="$(seeds)" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 -artifact_prefix="$folder/findings/$target-" >"$log" 2>&1 || code=$?
  if [ $code != 0 ]; then
    echo "$target: a finding (exit code $code); the end of $log:"
    tail -n 40 "$log"
    return 1
  fi
  echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") files in $seconds s, no finding"
}

build
[ $run = 0 ] || each fuzz "${targets[@]}"
