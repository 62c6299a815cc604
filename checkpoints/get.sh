#!/usr/bin/env bash
# Fetches a published weight file into this folder, goes on where an earlier fetch stopped, and records what came.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"

# name | file | address
published=(
  "vit|ViT-B_16.npz|https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz"
  "mae|mae_pretrain_vit_base.pth|https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth"
  "mocov3|linear-vit-b-300ep.pth.tar|https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/linear-vit-b-300ep.pth.tar"
  "swin|swin_base_patch4_window7_224_22k.pth|https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window7_224_22k.pth"
  "convnext|convnext_base_22k_224.pth|https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth"
)

usage() {
  cat <<'END'
usage: checkpoints/get.sh [--from URL] NAME…

  vit        ViT-B/16, supervised on ImageNet-21k (Google)     backbone=vit_base_patch16_224_in21k
  mae        ViT-B/16, MAE on ImageNet-1k (Facebook)           backbone=vit_base_patch16_224_mae
  mocov3     ViT-B/16, MoCo v3 on ImageNet-1k (Facebook)       backbone=vit_base_patch16_224_mocov3
  swin       Swin-B, supervised on ImageNet-22k (Microsoft)    backbone=swin_base_patch4_window7_224_22k
  convnext   ConvNeXt-B, supervised on ImageNet-22k (Facebook) backbone=convnext_base_22k_224
  all        all five

  --from URL   another server that has these files in one folder: URL/ViT-B_16.npz, …

Files go into checkpoints/, or into the folder that SNELL_CHECKPOINTS names. An interrupted fetch goes on where it
stopped. The first fetch records size and SHA-256 in fetched.tsv there; a later one of the same file must equal them.

example: checkpoints/get.sh vit
END
}

folder=${SNELL_CHECKPOINTS:-$SNELL_ROOT/checkpoints}
record=$folder/fetched.tsv

# recorded FILE: "size sha256" of an earlier fetch, or nothing.
recorded() {
  [ ! -f "$record" ] || awk -F'\t' -v file="$1" '$1 == file { print $2, $3; exit }' "$record"
}
measured() { echo "$(stat -c %s "$1") $(sha256sum "$1" | cut -d' ' -f1)"; }

# check_first_bytes FILE NAME ADDRESS: a login or error page is no weight file.
check_first_bytes() {
  local first
  first=$(head -c 512 "$1" | tr -d '\0[:space:]' | head -c 1)
  [ "$first" != "<" ] || { rm -f "$1"; die 4 "$3 sent a web page instead of $2; look at the address in a browser"; }
}

# check_range PART: true when the server said that nothing is left to send, and the part has the file's size.
check_range() {
  local total
  total=$(tr -d '\r' <"$1.headers" | sed -n 's/^[Cc]ontent-[Rr]ange: bytes \*\/\([0-9]*\)$/\1/p' | tail -1)
  [ -n "$total" ] || return 1
  [ "$(stat -c %s "$1")" = "$total" ] || die 4 "$1 is longer than the server's file of $total bytes; delete it and fetch again"
}

fetch() { # fetch FILE ADDRESS
  local file=$1 address=$2 part=$folder/$1.part expected got code=0
  expected=$(recorded "$file")
  if [ -f "$folder/$file" ]; then
    got=$(measured "$folder/$file")
    [ -z "$expected" ] || [ "$got" = "$expected" ] ||
      die 4 "$folder/$file differs from the recorded one (size and SHA-256: $got, recorded: $expected); move it away and fetch again"
    note "$file is there ($got)"
  else
    note "$address -> $folder/$file"
    [ ! -f "$part" ] || [ ! -f "$part.from" ] || [ "$(cat "$part.from")" = "$address" ] ||
      die 4 "$part was begun from $(cat "$part.from"); delete both to fetch from $address"
    echo "$address" >"$part.from"
    curl --fail --location --show-error --progress-bar --retry 3 --continue-at - --dump-header "$part.headers" \
      --output "$part" "$address" || code=$?
    check_range "$part" && code=0
    [ $code != 33 ] && [ $code != 36 ] || die 4 "the server cannot go on with $part; delete it and fetch again"
    [ $code = 0 ] || die 4 "$address could not be fetched (curl's code $code); the same command goes on where it stopped"
    check_first_bytes "$part" "$file" "$address"
    got=$(measured "$part")
    [ -z "$expected" ] || [ "$got" = "$expected" ] ||
      die 4 "$part differs from what an earlier fetch recorded (size and SHA-256: $got, recorded: $expected); delete it and fetch again, or its line in $record if the publisher changed the file"
    mv -n "$part" "$folder/$file"
    rm -f "$part.from" "$part.headers"
  fi
  [ -n "$expected" ] || printf '%s\t%s\t%s\t%s\t%s\n' "$file" ${got} "$address" "$(date -u +%F)" >>"$record"
}

from="" names=()
while [ $# -gt 0 ]; do
  case "$1" in
    --from) [ $# -ge 2 ] && from=${2%/} && shift || die 2 "--from needs an address" ;;
    -h | --help) usage && exit 0 ;;
    -*) die 2 "checkpoints/get.sh knows no option '$1'; see checkpoints/get.sh --help" ;;
    *) names+=("$1") ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || { usage >&2 && exit 2; }
command -v curl >/dev/null || die 1 "curl is needed (Debian: apt-get install curl)"
mkdir -p "$folder"
exec 8>"$folder/.fetching"
flock -n 8 || die 1 "another checkpoints/get.sh is at work in $folder"

for name in "${names[@]}"; do
  found=0
  for entry in "${published[@]}"; do
    IFS='|' read -r known file address <<<"$entry"
    [ "$name" = all ] || [ "$name" = "$known" ] || [ "$name" = "$file" ] || continue
    found=1
    [ -z "$from" ] || address=$from/$file
    fetch "$file" "$address"
  done
  [ $found = 1 ] || die 2 "no published file is called '$name'; one of: vit, mae, mocov3, swin, convnext, all"
done
