#!/usr/bin/env bash
# A backbone larger than the memory: generates its weight file (ViT-G: 7.4 GB), trains a few steps of batch 1 from the
# mapped file, and prints the peak of the process's anonymous memory, i.e. of what the system cannot drop.
#   bench/larger_than_memory.sh [BACKBONE=vit_gigantic_patch14_224] [STEPS=2] [SETTING...]
# SNELL_PROGRAM: another program than build/bin/snell. SNELL_LIMIT_MB: train within a memory cgroup of that size (needs
# root; files' pages count, so that the weights have to be read from the disk again and again). TMPDIR: where the file
# is written, and removed from in the end.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
cd "$SNELL_ROOT"
backbone=${1:-vit_gigantic_patch14_224} steps=${2:-2}
shift $(($# < 2 ? $# : 2))
[[ $steps =~ ^[1-9][0-9]*$ ]] || die 2 "usage: bench/larger_than_memory.sh [BACKBONE=vit_gigantic_patch14_224] [STEPS=2] [SETTING...]"
snell=${SNELL_PROGRAM:-build/bin/snell}
[ -x "$snell" ] || die 1 "there is no $snell; launch/quickstart.sh builds it"

folder=$(mktemp -d "${TMPDIR:-/tmp}/snell-large-XXXXXX")
group=
clean_up() {
  rm -rf "$folder"
  if [ -n "$group" ]; then rmdir "$group" || true; fi
}
trap clean_up EXIT

python3 -B - "$folder/pictures" <<'PYTHON'
import pathlib, sys
sys.path.insert(0, "tests/integration")
import support
support.write_folders(pathlib.Path(sys.argv[1]), ("a", "b"), train=4, test=1)
PYTHON
"$snell" convert datasets/imagefolder.yaml "$folder/pictures" "$folder/pictures.h5" >"$folder/convert.log"
"$snell" weights make "$folder/weights.safetensors" "backbone=$backbone" "$@"

# In the cgroup from its first page on.
within() {
  if [ -n "$group" ]; then echo $BASHPID >"$group/cgroup.procs"; fi
  exec "$@"
}
if [ -n "${SNELL_LIMIT_MB:-}" ]; then
  root=/sys/fs/cgroup limit=memory.max
  if [ -d /sys/fs/cgroup/memory ]; then root=/sys/fs/cgroup/memory limit=memory.limit_in_bytes; fi
  group=$root/snell-large-$$
  mkdir "$group" || die 1 "cannot make a memory cgroup; SNELL_LIMIT_MB needs root"
  echo $((SNELL_LIMIT_MB << 20)) >"$group/$limit"
  sync "$folder/weights.safetensors"
  dd if="$folder/weights.safetensors" iflag=nocache count=0 2>/dev/null  # out of the system's cache
fi

within "$snell" train data=imagefolder "data.file=$folder/pictures.h5" "run.dir=$folder/run" "backbone=$backbone" \
  "backbone.weights=$folder/weights.safetensors" backbone.frozen_storage=mapped backbone.checkpoint_blocks=true \
  adapter=snell8 adapter.sparsity=0.9 data.batch_size=1 data.workers=1 data.prefetch=1 run.device=cpu run.log_every=1 \
  "train.max_steps=$steps" train.eval_interval=0 train.eval_last=0 checkpoint.every_epochs=0 checkpoint.every_steps=0 \
  "$@" >"$folder/train.log" 2>&1 &
trained=$!
anonymous=0 resident=0
while [ -r "/proc/$trained/status" ] && ! grep -q '^State:.*Z' "/proc/$trained/status"; do
  read -r now_anonymous now_resident < <(awk '/^RssAnon:/ { a = $2 } /^VmRSS:/ { r = $2 } END { print a + 0, r + 0 }' "/proc/$trained/status" || true) || true
  if ((now_anonymous > anonymous)); then anonymous=$now_anonymous; fi
  if ((now_resident > resident)); then resident=$now_resident; fi
  sleep 0.1
done
if ! wait "$trained"; then
  tail -n 20 "$folder/train.log" >&2
  die 1 "training failed"
fi

python3 -B - "$folder/run/metrics.jsonl" <<'PYTHON'
import json, sys
for line in open(sys.argv[1]):
    event = json.loads(line)
    if event["event"] == "step":
        print(f"step {event['step']}: loss {event['loss']:.6f}, {event['seconds_per_step']:.1f} s")
PYTHON
printf 'weights %d MB; peak anonymous memory (RssAnon) %d MB; peak resident with pages of files (VmRSS) %d MB\n' \
  $(($(stat -c %s "$folder/weights.safetensors") / 1000000)) $((anonymous * 1024 / 1000000)) $((resident * 1024 / 1000000))
