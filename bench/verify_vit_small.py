#!/usr/bin/env python3
"""A reproducible ViT-S/16 run of many ranks, and one rank that replays ten random steps of it: the whole of what
tests/integration/verify_test.py does on two blocks. Generated pictures and weights, the recipes' dropout and drop path,
batch 16 in 8 virtual shards.

usage: bench/verify_vit_small.py PROGRAM RANKS STEPS MPIRUN...
       bench/verify_vit_small.py build/bin/snell 8 12 mpirun --oversubscribe --mca mpi_yield_when_idle 1
"""
import json
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "integration"))
import support  # noqa: E402

RECIPE = ["data=imagefolder", "backbone=vit_small_patch16_224", "backbone.weights=", "backbone.drop_path=0.1",
          "adapter=snell32", "adapter.sparsity=0.9", "adapter.dropout=0.1", "adapter.drop_path=0.1", "data.batch_size=16",
          "dist.reproducible=true", "dist.virtual_shards=8", "train.eval_interval=0", "train.eval_last=0",
          "checkpoint.every_steps=4", "checkpoint.every_epochs=0", "checkpoint.keep=100", "run.log_every=1"]
TIMEOUT = 24 * 3600


def main():
    binary, ranks, steps, *mpirun = sys.argv[1:]
    program = support.Program(str(pathlib.Path(binary).resolve()), mpirun)
    with tempfile.TemporaryDirectory(prefix="snell-verify-") as name:
        folder = pathlib.Path(name)
        data, run = folder / "pictures.h5", folder / "run"
        support.write_folders(folder / "pictures", ("a", "b", "c", "d"), train=16, test=2)
        program.run("convert", "datasets/imagefolder.yaml", folder / "pictures", data)
        started = time.monotonic()
        program.run("train", *RECIPE, f"data.file={data}", f"run.dir={run}", f"train.max_steps={steps}", ranks=int(ranks),
                    timeout=TIMEOUT)
        trained = time.monotonic()
        told = json.loads(program.run("verify", run, "--steps", 10, "--json", timeout=TIMEOUT).stdout)
        print(f"{steps} steps on {ranks} ranks: {trained - started:.0f} s; {told['replayed']} steps replayed on one: "
              f"{time.monotonic() - trained:.0f} s")
        print(f"steps {told['steps']}, drawn with seed {told['seed']}: {'equal bits' if told['equal'] else 'NOT EQUAL'}")
        for difference in told["differences"]:
            print(" ", difference["text"])
        return 0 if told["equal"] else 6


sys.exit(main())
