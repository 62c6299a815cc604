#!/usr/bin/env bash
# checkpoints/get.sh against a server on this machine: a fetch, one that goes on, a changed file, a web page, a mistake.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; cat "$work/out" "$work/server.log" 2>/dev/null; exit 1; }

mkdir "$work/www"
head -c 3000000 /dev/urandom >"$work/www/ViT-B_16.npz"
head -c 1000 /dev/urandom >"$work/www/convnext_base_22k_224.pth"
echo "<!doctype html><title>Sign in</title>" >"$work/www/mae_pretrain_vit_base.pth"
python3 "$root/tests/launch/range_server.py" "$work/www" "$work/port" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
[ -s "$work/port" ] || fail "the server did not start"
address=http://127.0.0.1:$(cat "$work/port")
export SNELL_CHECKPOINTS=$work/checkpoints

# expect CODE TEXT arguments…
expect() {
  local code=$1 text=$2 got=0
  shift 2
  "$root/checkpoints/get.sh" "$@" >"$work/out" 2>&1 || got=$?
  [ $got = "$code" ] && grep -q -- "$text" "$work/out" || fail "get.sh $* ended with $got, expected $code and '$text'"
}

expect 0 "goes on where it" --help
expect 2 "no published file is called 'vitt'" --from "$address" vitt
expect 2 "knows no option" --form "$address" vit

# Half of it is there from an interrupted fetch: only the rest travels.
mkdir -p "$SNELL_CHECKPOINTS"
head -c 1500000 "$work/www/ViT-B_16.npz" >"$SNELL_CHECKPOINTS/ViT-B_16.npz.part"
expect 0 "ViT-B_16.npz" --from "$address" vit convnext
cmp "$work/www/ViT-B_16.npz" "$SNELL_CHECKPOINTS/ViT-B_16.npz" || fail "the file that was fetched in two parts differs"
cmp "$work/www/convnext_base_22k_224.pth" "$SNELL_CHECKPOINTS/convnext_base_22k_224.pth" || fail "the small file differs"
grep -q "sent 1500000 bytes of /ViT-B_16.npz" "$work/server.log" || fail "the fetch began again from the start"
[ ! -e "$SNELL_CHECKPOINTS/ViT-B_16.npz.part" ] || fail "the part is still there"
hash=$(sha256sum "$work/www/ViT-B_16.npz" | cut -d' ' -f1)
grep -qP "^ViT-B_16.npz\t3000000\t$hash\t$address/ViT-B_16.npz\t" "$SNELL_CHECKPOINTS/fetched.tsv" || fail "not recorded"

# A part that is whole already is taken; one that is too long, or from another address, is not gone on with.
mkdir "$work/again"
cp "$work/www/convnext_base_22k_224.pth" "$work/again/convnext_base_22k_224.pth.part"
SNELL_CHECKPOINTS=$work/again expect 0 "convnext" --from "$address" convnext
cmp "$work/www/convnext_base_22k_224.pth" "$work/again/convnext_base_22k_224.pth" || fail "the whole part was not taken"
rm "$work/again/convnext_base_22k_224.pth" "$work/again/fetched.tsv"
head -c 5000 /dev/urandom >"$work/again/convnext_base_22k_224.pth.part"
SNELL_CHECKPOINTS=$work/again expect 4 "is longer than the server's file" --from "$address" convnext
head -c 500 /dev/urandom >"$work/again/convnext_base_22k_224.pth.part"
echo http://127.0.0.1:1/elsewhere >"$work/again/convnext_base_22k_224.pth.part.from"
SNELL_CHECKPOINTS=$work/again expect 4 "was begun from http://127.0.0.1:1/elsewhere" --from "$address" convnext

# A second fetch finds it; a damaged file and another one from the server are refused.
expect 0 "ViT-B_16.npz is there" --from "$address" vit
printf x | dd of="$SNELL_CHECKPOINTS/ViT-B_16.npz" bs=1 seek=77 conv=notrunc status=none
expect 4 "differs from the recorded one" --from "$address" vit
rm "$SNELL_CHECKPOINTS/ViT-B_16.npz"
head -c 3000000 /dev/urandom >"$work/www/ViT-B_16.npz"
expect 4 "differs from what an earlier fetch recorded" --from "$address" vit
[ ! -e "$SNELL_CHECKPOINTS/ViT-B_16.npz" ] || fail "a file other than the recorded one was kept"

expect 4 "sent a web page instead of mae_pretrain_vit_base.pth" --from "$address" mae
expect 4 "could not be fetched" --from "$address" swin
echo "weights are fetched, resumed, recorded and checked"
