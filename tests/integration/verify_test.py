"""One reproducible run that changes its number of ranks three times, and `snell verify` of it on one rank: one chain,
equal bits; what was changed or does not fit is told by words and exit codes. A ViT-S of two blocks stands in for ViT-S
(bench/verify_vit_small.py takes the whole one).

usage: verify_test.py PROGRAM MPIRUN...
"""
import hashlib
import json
import pathlib
import sys
import tempfile

import support

RECIPE = ["data=imagefolder", "backbone=vit_small_patch16_224", "backbone.depth=2", "backbone.image_size=32", "backbone.weights=",
          "adapter=snell32", "adapter.sparsity=0.9", "adapter.dropout=0.1", "adapter.drop_path=0.1", "backbone.drop_path=0.1",
          "data.batch_size=16", "dist.reproducible=true", "dist.virtual_shards=8", "train.eval_interval=0",
          "train.eval_last=0", "checkpoint.every_steps=5", "checkpoint.every_epochs=0", "run.log_every=1"]
PARTS = [(1, 4), (4, 8), (2, 11), (8, 16)]  # ranks, and up to which step


def files_of(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def main():
    binary, *mpirun = sys.argv[1:]
    program = support.Program(binary, mpirun)
    with tempfile.TemporaryDirectory(prefix="snell-verify-") as name:
        folder = pathlib.Path(name)
        data, other, run = folder / "pictures.h5", folder / "other.h5", folder / "run"
        for file, number in ((data, 0), (other, 10_000)):
            support.write_folders(folder / str(number), ("a", "b", "c"), train=11, test=2, first=number)
            program.run("convert", "datasets/imagefolder.yaml", folder / str(number), file)
        for ranks, steps in PARTS:
            program.run("train", *RECIPE, f"data.file={data}", f"run.dir={run}", f"train.max_steps={steps}", ranks=ranks)
        lines = [json.loads(line) for line in (run / "chain.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["event"] == "step"]
        assert [line["step"] for line in steps] == list(range(1, 17)), "each step once, in one chain"
        assert [line["ranks"] for line in lines if line["event"] == "part"] == [ranks for ranks, _ in PARTS], lines
        assert all(len(set(line["shards"])) > 1 for line in steps), "shards have their own hashes"

        before = files_of(run)
        told = json.loads(program.run("verify", run, "--steps", 10, "--seed", 1, "--json").stdout)
        assert told["equal"] and len(set(told["steps"])) == 10 and told["first_replayable"] == 1, told
        told = json.loads(program.run("verify", run, "--all", "--json").stdout)
        assert told["equal"] and told["replayed"] == 16 and told["differences"] == [], told
        assert "equal bits: all 1 replayed" in program.run("verify", run, "--step", 16).stdout

        # Other pictures: every shard of the first step is another.
        told = json.loads(program.run("verify", run, f"data.file={other}", "--step", 16, "--json", expect=6).stdout)
        (difference,) = told["differences"]
        assert not told["equal"] and difference["kind"] == "all_shards" and difference["step"] == 16, told
        assert "NOT EQUAL" in program.run("verify", run, f"data.file={other}", "--step", 16, expect=6).stdout
        program.run("verify", run, "optim.lr=1", expect=2)
        program.run("verify", run, "--step", 17, expect=2)
        misfit = program.run("verify", run, "--step", 16, expect=4, environment={"SNELL_CPU_KERNELS": "portable"})
        assert "the instruction set was" in misfit.stderr, misfit.stderr
        assert files_of(run) == before, "verify wrote into the run"

        chain = run / "chain.jsonl"
        text = chain.read_text()
        chain.write_text(text.replace(steps[6]["sum"], steps[7]["sum"]))
        damaged = program.run("verify", run, expect=4)
        assert "the link of step 7 does not fit" in damaged.stderr, damaged.stderr
        chain.unlink()
        assert "holds no chain.jsonl" in program.run("verify", run, expect=4).stderr
        print("passed")


main()
