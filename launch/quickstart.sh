#!/usr/bin/env bash
# Sets everything up and does the main job on real data: SNELL fine-tuning of a small ViT from clothes to handwritten
# digits, on two ranks.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
usage: launch/quickstart.sh [--help]

Sets up, builds build/bin/snell, converts the two data sets (Fashion-MNIST and 5,000 handwritten digits) to HDF5, and
trains on the digits with two ranks.
Everything it writes lies in data/ and runs/ inside the repository.
END
}

for argument in "$@"; do
  case "$argument" in
    -h | --help) usage && exit 0 ;;
    *) die 2 "launch/quickstart.sh knows no option '$argument'; see launch/quickstart.sh --help" ;;
  esac
done
cd "$SNELL_ROOT"
exec </dev/null
allow_mpi_as_root

step "Set-up"
launch/setup.sh
PATH="$SNELL_DEPS_DIR/venv/bin:$PATH"

step "Build"
quietly configure-cpu-release.log cmake --preset cpu-release || die 1 "the build could not be configured; CMake's words are above"
show cmake --build --preset cpu-release -j "$(build_jobs)" --target snell
show build/bin/snell doctor

step "Convert the data to HDF5"
snell=build/bin/snell
mkdir -p data
[ -e "$SNELL_DEPS_DIR/data/fashion-mnist/train-images-idx3-ubyte.gz" ] ||
  die 3 "no Fashion-MNIST in $SNELL_DEPS_DIR/data/fashion-mnist; put its four .gz files there (launch/setup.sh says why it could not) and run this again"
# convert_once SCHEMA SOURCE OUTPUT
convert_once() {
  if [ -f "$3" ]; then
    note "$3 is there already"
  else
    show $snell convert "$1" "$2" "$3"
  fi
}
convert_once datasets/fashion_mnist.yaml "$SNELL_DEPS_DIR/data/fashion-mnist" data/fashion_mnist.h5
convert_once datasets/mnist5k.yaml "$SNELL_DEPS_DIR/data/mnist_5k.csv.gz" data/mnist5k.h5
show $snell inspect data/mnist5k.h5

step "Train with SNELL on two ranks"
show launch/mpirun.sh -n 2 -- train experiment=quickstart/snell run.dir=runs/quickstart/snell

steps_done "Quickstart"
