#!/usr/bin/env bash
# Memory of a rank with sharded frozen weights: three steps on generated pictures, with generated weights in float32.
# Prints, a rank, the highest resident memory, and what is above an idle process of the same program.
#
# usage: bench/sharded_memory.sh [PROGRAM] [CASE...]
#   PROGRAM  default: build/bin/snell
#   CASE     BACKBONE:RANKS:BATCH:SHARD, BATCH being the global one and SHARD none, full or hybrid; default: ViT-L and
#            ViT-g, 2 ranks, batch 2, full. ViT-g takes minutes of CPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(realpath "${1:-build/bin/snell}")
shift || true
[ -x "$program" ] || { echo "there is no program $program; launch/quickstart.sh builds build/bin/snell" >&2 && exit 1; }
[ $# -gt 0 ] || set -- vit_large_patch16_224:2:2:full vit_giant_patch14_224:2:2:full

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
mpirun=(mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1)

python3 - tests/integration "$work" <<'END'
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import support
support.write_folders(pathlib.Path(sys.argv[2]) / "pictures", ("a", "b", "c", "d"))
END
"$program" convert datasets/imagefolder.yaml "$work/pictures" "$work/pictures.h5" >"$work/convert.log" 2>&1 ||
  { cat "$work/convert.log" >&2 && exit 1; }

"${mpirun[@]}" -np 2 python3 bench/peak_memory.py "$work/idle" "$program" --version >/dev/null
idle=$(awk '$3 > most { most = $3 } END { print most }' "$work/idle")
printf 'idle process: %s MB\n%-32s %6s %6s %7s %10s %10s %8s %12s %12s\n' "$idle" backbone ranks batch shard 'peak MB' \
  'above MB' seconds 'MB gathered' 'waited s'
for case in "$@"; do
  IFS=: read -r backbone ranks batch shard <<<"$case"
  run="$work/$backbone-$ranks-$batch-$shard"
  "${mpirun[@]}" -np "$ranks" python3 bench/peak_memory.py "$run.peak" "$program" train data=imagefolder \
    "data.file=$work/pictures.h5" "run.dir=$run" "backbone=$backbone" backbone.weights= adapter=snell adapter.rank=8 \
    backbone.checkpoint_blocks=true "data.batch_size=$batch" data.eval_batch_size=1 data.workers=1 data.prefetch=1 \
    optim=adamw train.max_steps=3 train.eval_interval=0 train.eval_last=0 checkpoint.every_epochs=0 run.log_every=3 \
    run.device=cpu dist.shard_frozen="$shard" dist.shard_optimizer=true >"$run.log" 2>&1 ||
    { tail -n 20 "$run.log" >&2 && exit 1; }
  python3 - "$run" "$idle" "$backbone" "$ranks" "$batch" "$shard" <<'END'
import json, sys
run, idle, backbone, ranks, batch, shard = sys.argv[1:]
peak = max(float(line.split()[2]) for line in open(run + ".peak"))
events = [json.loads(line) for line in open(run + "/metrics.jsonl")]
step = [e for e in events if e["event"] == "step"][-1]
print(f"{backbone:32} {ranks:>6} {batch:>6} {shard:>7} {peak:10.0f} {peak - float(idle):10.0f} "
      f"{step['seconds_per_step']:8.1f} {step.get('bytes_gathered', 0) / 1e6:12.0f} "
      f"{step.get('gather_wait_seconds', 0):12.2f}", flush=True)
END
done
