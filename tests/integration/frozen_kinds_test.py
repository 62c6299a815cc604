"""Train, judge, predict and export with frozen weights kept in other kinds than the plain one.

usage: frozen_kinds_test.py PROGRAM MPIRUN... [--all]     --all: bfloat16 too, which takes int8's road
"""
import json
import pathlib
import sys
import tempfile

import support

MODEL = ["backbone=vit_tiny_patch16_224", "backbone.depth=2", "backbone.image_size=32"]
RUN = [*MODEL, "data.batch_size=24", "train.epochs=2", "optim.lr=1e-3", "optim.schedule.warmup_epochs=0", "adapter.sparsity=0.9"]


def use(program, folder, run):
    """Everything that is done with a finished run; the evaluation's loss."""
    judged = json.loads(program.run("eval", run, "--json").stdout)[0]
    predicted = json.loads(program.run("predict", run, folder / "images/test/owl/47.png", "--json").stdout)[0]
    assert predicted["predicted"] in ("cat", "dog", "owl"), predicted
    program.run("export", run, "to=timm")
    return judged["loss"]


def published(path):
    """The bytes of a projection in an exported or generated file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8:8 + size])["blocks.1.mlp.fc2.weight"]["data_offsets"]
    return data[8 + size + begin:8 + size + end]


def main():
    everything = sys.argv[-1] == "--all"
    binary, *mpirun = sys.argv[1:-1] if everything else sys.argv[1:]
    program = support.Program(binary, mpirun)
    with tempfile.TemporaryDirectory(prefix="snell-kinds-") as name:
        folder = pathlib.Path(name)
        data, weights = folder / "images.h5", folder / "start.safetensors"
        support.write_folders(folder / "images", ("cat", "dog", "owl"))
        program.run("convert", "datasets/imagefolder.yaml", folder / "images", data)
        program.run("weights", "make", weights, *MODEL)
        assert "overwrite" in program.run("weights", "make", weights, *MODEL, expect=2).stderr
        common = ["train", "data=imagefolder", f"data.file={data}", *RUN]

        # The file holds what a run without one draws: equal bits in all that was trained, and in what is exported.
        program.run(*common, "backbone.weights=", f"run.dir={folder / 'plain'}", ranks=2)
        mapped = ["backbone.frozen_storage=mapped", f"backbone.weights={weights}", f"run.dir={folder / 'mapped'}"]
        program.run(*common, *mapped, ranks=2)
        assert support.tensor_hashes(folder / "plain") == support.tensor_hashes(folder / "mapped")
        assert "8 mapped" in "".join(p.read_text() for p in (folder / "mapped/logs").glob("*")), "the log tells it"
        program.run("export", folder / "plain", "to=timm")
        plain_loss = use(program, folder, folder / "mapped")
        merged = published(folder / "mapped/export-timm/model.safetensors")
        assert merged == published(folder / "plain/export-timm/model.safetensors") != published(weights)

        for kind in ("int8", "bfloat16") if everything else ("int8",):
            run = folder / kind
            program.run(*common, "backbone.weights=", f"backbone.frozen_storage={kind}", f"run.dir={run}")
            loss = use(program, folder, run)
            assert loss != plain_loss and abs(loss - plain_loss) < 0.1, (kind, loss, plain_loss)

        # What cannot be is told in a sentence.
        fixtures = support.ROOT / "tests/fixtures/weights"
        refused = program.run(*common, *mapped, f"backbone.weights={fixtures / 'vit_google.npz'}", "--dry-run", expect=4)
        assert "snell weights convert" in refused.stderr, refused.stderr
        program.run("weights", "convert", fixtures / "vit_google.npz", folder / "vit.safetensors", "dtype=float32")
        program.run("inspect", folder / "vit.safetensors")
        assert "frozen_storage=mapped" in program.run(*common, *mapped, "backbone.weights=", expect=2).stderr
        full = program.run(*(s for s in common if not s.startswith("adapter.")), "adapter=full", "backbone.weights=",
                           "backbone.frozen_storage=int8", f"run.dir={folder / 'full'}", "--dry-run")
        assert "freezes nothing" in full.stderr, full.stderr
        print("passed")


main()
