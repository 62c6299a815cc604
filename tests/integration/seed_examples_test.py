"""The published scripts' jobs on generated folders in the published layouts, with a small ViT in Google's format:
converted, trained on two ranks, killed (SIGKILL) in the middle of an epoch between two saves, resumed to bit-equal
parameters, evaluated on other numbers of ranks, and asked for single predictions.

usage: seed_examples_test.py (fgvc|vtab) PROGRAM PMPI_COUNTER MPIRUN...
"""
import json
import pathlib
import sys
import tempfile

import support

SMALL_VIT = ["backbone.image_size=32", "backbone.patch_size=8", "backbone.embed_dim=48", "backbone.depth=2",
             "backbone.num_heads=3", f"backbone.weights={support.ROOT}/tests/fixtures/weights/vit_google.npz"]
JOBS = {
    # kind: experiment, schema, epochs, a step to be killed at, the evaluation's number of samples
    "fgvc": ("fgvc/snell32/cub", "datasets/fgvc/cub.yaml", 4, 18, 200),
    "vtab": ("vtab/snell32/cifar", "datasets/vtab/cifar.yaml", 2, 80, 150),
}


def check_bytes(program, counter, folder, train):
    """A step hands exactly the trainables' bytes to MPI's all-reduce, by MPI's own entry points."""
    run = folder / "counted"
    program.run(*train, "train.max_steps=5", f"run.dir={run}", ranks=2,
                environment={"LD_PRELOAD": counter, "SNELL_PMPI_COUNT_FILE": str(folder / "count")})
    finish = support.events(run / "metrics.jsonl", "finish")[-1]
    assert finish["bytes_all_reduced_per_step"] == 4 * finish["trainable_parameters"], finish
    for rank in range(2):
        counts = dict((line.split()[0], int(line.split()[2])) for line in (folder / f"count.{rank}").read_text().splitlines())
        assert counts == {"snell.tensors": 5 * finish["bytes_all_reduced_per_step"]}, counts


def main():
    kind, binary, counter, *mpirun = sys.argv[1:]
    experiment, schema, epochs, kill_step, num_eval = JOBS[kind]
    program = support.Program(binary, mpirun)
    with tempfile.TemporaryDirectory(prefix="snell-examples-") as name:
        folder = pathlib.Path(name)
        source, data = folder / "source", folder / "data.h5"
        support.write_cub(source) if kind == "fgvc" else support.write_vtab(source, 100, num_eval)
        program.run("convert", schema, source, data)
        program.run("inspect", data)

        train = ["train", f"experiment={experiment}", *SMALL_VIT, f"data.file={data}", f"train.epochs={epochs}",
                 "run.log_every=1", "checkpoint.every_steps=11", "checkpoint.every_epochs=0"]
        whole, killed = folder / "whole", folder / "killed"
        program.run(*train, f"run.dir={whole}", ranks=2)
        stopped_at = program.kill_at_step(kill_step, killed / "metrics.jsonl", *train, f"run.dir={killed}", ranks=2)
        assert not support.events(killed / "metrics.jsonl", "finish"), "the run was over before it was killed"
        saved = support.newest_manifest(killed)["step"]
        assert 0 < saved, saved
        program.run(*train, f"run.dir={killed}", ranks=2)
        resumed = support.events(killed / "metrics.jsonl", "resume")
        assert [event["step"] for event in resumed] == [saved], resumed
        assert support.tensor_hashes(killed) == support.tensor_hashes(whole), "resumed parameters differ in their bits"
        steps = [event["step"] for event in support.events(killed / "metrics.jsonl", "step")]
        assert steps == list(range(1, len(steps) + 1)), "each step once in the metrics"

        results = []
        for ranks in (1, 2):
            done = program.run("eval", killed, "--json", ranks=ranks)
            results.append(json.loads(done.stdout)[0])
        assert results[0]["samples"] == num_eval and results[0]["top1"] == results[1]["top1"], results
        assert results[0]["top1"] == support.events(whole / "metrics.jsonl", "finish")[-1]["last"], results
        image = next((source / "images").rglob("*.png"))
        assert len(json.loads(program.run("predict", killed, image, "--json").stdout)) == 1
        page = folder / "predictions.html"
        assert len(json.loads(program.run("predict", killed, "--count", 8, "--html", page, "--json").stdout)) == 8
        assert "data:image/png;base64" in page.read_text()

        program.run(*train, f"run.dir={killed}", "run.resume=never", expect=2)
        program.run(*train, f"run.dir={killed}", "adapter.rank=16", expect=2)
        program.run(*train, f"run.dir={folder / 'new'}", "optim.lrr=1", expect=2)
        program.run(*train, f"run.dir={folder / 'new'}", f"data.file={folder / 'absent.h5'}", expect=3)
        program.run(*train, f"run.dir={folder / 'new'}", f"backbone.weights={folder / 'absent.npz'}", expect=4)
        for artefact in ("config.yaml", "overrides.yaml", "summary.csv", "report.html", "model.safetensors"):
            assert (whole / artefact).stat().st_size > 0, artefact
        program.run("compare", whole, killed, "--html", folder / "compare.html")
        check_bytes(program, counter, folder, train)
        print(f"passed: killed at step {stopped_at}, resumed from {saved}")


main()
