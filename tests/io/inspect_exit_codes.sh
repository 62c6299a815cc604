#!/usr/bin/env bash
# `snell inspect` on sound and on damaged weight files: exit code 4 with one sentence, and nothing of the file is run.
set -u
snell=$1
fixtures="$(cd "$(dirname "${BASH_SOURCE[0]}")/../fixtures" && pwd)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

complain() {
  echo "$1"
  failed=1
}

sound() { # sound FILE FORMAT
  "$snell" inspect "$1" >out 2>err || complain "$1: exit code $?: $(cat err)"
  grep -qF "($2)" out || complain "$1: '$2' is not in: $(head -n 1 out)"
}

refused() { # refused FILE WHAT
  local code=0
  "$snell" inspect "$1" >out 2>err || code=$?
  [ $code = 4 ] || complain "$2: exit code $code instead of 4"
  [ -s out ] && complain "$2: it prints $(head -n 1 out)"
  [ "$(grep -c . err)" = 1 ] || complain "$2: not one line: $(cat err)"
  grep -qF "$1" err || complain "$2: the file is not named: $(cat err)"
}

sound "$fixtures/weights/vit_google.npz" npz
sound "$fixtures/weights/vit_timm.safetensors" safetensors
sound "$fixtures/weights/vit_mae.pth" "torch (zip)"
sound "$fixtures/weights/vit_moco_legacy.pth.tar" "torch (legacy)"
cp "$fixtures/weights/vit_moco_legacy.pth.tar" a.safetensors # by content, not by name
sound a.safetensors "torch (legacy)"
mkdir model
cp "$fixtures/weights/vit_timm.safetensors" model/model.safetensors
sound model safetensors

refused "$fixtures/weights/malicious.pth" "a pickle that calls os.system"
grep -qF "posix.system" err || complain "the function is not named: $(cat err)"
compgen -G "snell_pickle*" >/dev/null && complain "the pickle was run"
for file in vit_google.npz vit_timm.safetensors vit_mae.pth vit_moco_legacy.pth.tar; do
  whole="$fixtures/weights/$file"
  size=$(stat -c %s "$whole")
  for length in 1 8 100 $((size / 2)) $((size - 1)); do
    head -c "$length" "$whole" >"cut_$file"
    refused "cut_$file" "$file, the first $length of $size bytes"
  done
done
: >empty.pth
refused empty.pth "an empty file"
cp "$fixtures/picture.jpg" picture.npz
refused picture.npz "a picture"
for file in vit_google.npz vit_mae.pth; do
  cp "$fixtures/weights/$file" "flipped_$file"
  chmod u+w "flipped_$file"
  size=$(stat -c %s "$fixtures/weights/$file")
  python3 - "flipped_$file" $((size / 2)) <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 16]))
PY
  refused "flipped_$file" "$file with a flipped bit"
done
[ $failed = 1 ] || echo "every file was answered as it should be"
exit $failed
