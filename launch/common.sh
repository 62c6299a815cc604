# shellcheck shell=bash
# What every script of this folder shares: where things are, how they speak, and the checks of the machine they run on.
# Sourced, never run. Defines names only; nothing is installed or started here.

SNELL_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SNELL_DEPS_DIR="${SNELL_DEPS_DIR:-$SNELL_ROOT/.deps}"
export SNELL_DEPS_DIR
[ -d "$SNELL_DEPS_DIR/venv/bin" ] && PATH="$SNELL_DEPS_DIR/venv/bin:$PATH"

# --- speaking -------------------------------------------------------------------------------------------------------
note() { printf '    %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
# die CODE MESSAGE: 2 is a mistake in the command line or a setting (docs/exit-codes.md), 1 anything else.
die() {
  local code=$1
  shift
  printf 'error: %s\n' "$*" >&2
  exit "$code"
}

# Steps with a title and their time. `step` closes the one before it; `steps_done` closes the last and prints the total.
snell_steps_began=$SECONDS
snell_step_title=""
step() {
  step_end
  snell_step_title="$*"
  snell_step_began=$SECONDS
  printf '\n==> %s\n' "$*"
}
step_end() {
  [ -n "$snell_step_title" ] && note "($((SECONDS - snell_step_began)) s)"
  snell_step_title=""
}
steps_done() {
  step_end
  printf '\n%s: %d s in all\n' "$*" $((SECONDS - snell_steps_began))
}
# show COMMAND…: prints the command as one could type it, then runs it.
show() {
  printf '    $'
  printf ' %q' "$@"
  printf '\n'
  "$@"
}

# --- the machine ----------------------------------------------------------------------------------------------------
is_root() { [ "$(id -u)" -eq 0 ]; }

is_whole_number() { [[ "${1:-}" =~ ^[1-9][0-9]{0,5}$ ]]; }

# Cores this process may use: hardware threads count once, and an affinity mask or a container's CPU quota is respected.
usable_cores() {
  local cores physical quota period
  cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which would count these
  physical=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l)
  [ "${physical:-0}" -gt 0 ] && [ "$physical" -lt "$cores" ] && cores=$physical
  if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [ "$quota" != max ]; then
    quota=$((quota / period))
    [ "$quota" -lt 1 ] && quota=1
    [ "$quota" -lt "$cores" ] && cores=$quota
  fi
  echo "$cores"
}

# Open MPI refuses to start as root; in containers and on test machines root is the only user there is.
allow_mpi_as_root() {
  if is_root; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

# The folder of a CUDA toolkit of the major version that LibTorch was built for, or nothing. The compiler itself is asked
# where it lives, as the nvcc on PATH may be a wrapper.
cuda_toolkit() {
  local wanted=$1 nvcc version top
  for nvcc in "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    [ -n "$nvcc" ] && [ -x "$nvcc" ] || continue
    version=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
    [ "$version" = "$wanted" ] || continue
    top=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
    if [ -d "$top" ]; then
      (cd "$top" && pwd -P)
      return
    fi
  done
}

# --- building -------------------------------------------------------------------------------------------------------
# Compilers at a time: a core each, and 1.5 GB of memory each, which a source that includes LibTorch takes.
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/MemAvailable/ {print int($2 / 1572864)}' /proc/meminfo 2>/dev/null || echo 1)
  [ "${memory:-1}" -ge 1 ] || memory=1
  if [ "$memory" -lt "$cores" ]; then echo "$memory"; else echo "$cores"; fi
}

# build PRESET JOBS [cmake arguments]: configures (again) and builds the preset's default target.
build() {
  local preset=$1 jobs=$2
  shift 2
  quietly "configure-$preset.log" cmake --preset "$preset" "$@" && show cmake --build --preset "$preset" -j "$jobs"
}

# quietly LOG COMMAND…: the command's words go to $SNELL_DEPS_DIR/logs/LOG, and here only when it fails.
quietly() {
  local log="$SNELL_DEPS_DIR/logs/$1" code=0
  shift
  mkdir -p "$(dirname "$log")"
  printf '    $'
  printf ' %q' "$@"
  printf '\n'
  "$@" >"$log" 2>&1 || code=$?
  [ $code = 0 ] || cat "$log" >&2
  return $code
}
