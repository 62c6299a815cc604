"""README's "Your own images", command by command, on a generated folder.

usage: own_images_test.py PROGRAM MPIRUN...
"""
import json
import pathlib
import sys
import tempfile

import support

SMALL = ["backbone=vit_tiny_patch16_224", "backbone.depth=1", "backbone.image_size=32", "backbone.weights=", "train.epochs=2"]


def main():
    binary, *mpirun = sys.argv[1:]
    program = support.Program(binary, mpirun)
    with tempfile.TemporaryDirectory(prefix="snell-own-") as name:
        folder = pathlib.Path(name)
        images, data, run = folder / "my_images", folder / "my_images.h5", folder / "run"
        support.write_folders(images, ("cat", "dog", "owl"))
        program.run("convert", "datasets/imagefolder.yaml", images, data)
        shown = json.loads(program.run("inspect", data, "--json").stdout)
        assert len(shown["class_names"]) == 3, shown
        train = ["train", "data=imagefolder", f"data.file={data}", f"run.dir={run}", *SMALL]
        program.run(*train, "--dry-run", ranks=2)
        assert not run.exists(), "a dry run leaves nothing behind"
        program.run(*train, ranks=2)
        judged = json.loads(program.run("eval", run, "--json", ranks=2).stdout)
        assert judged[0]["samples"] == 12, judged
        told = json.loads(program.run("predict", run, images / "test/owl" / "44.png", "--json").stdout)
        assert told[0]["predicted"] in ("cat", "dog", "owl"), told
        program.run("inspect", run)
        assert program.run("doctor").stdout

        # A damaged file is found, named, and given its exit code.
        broken = folder / "broken.h5"
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        broken.write_bytes(content)
        program.run("inspect", broken, expect=3)
        (images / "train/cat/0.png").write_bytes(b"no picture")
        failed = program.run("convert", "datasets/imagefolder.yaml", images, folder / "again.h5", expect=3)
        assert "train/cat/0.png" in failed.stderr, failed.stderr
        program.run("convert", "datasets/imagefolder.yaml", images, folder / "again.h5", "on_error=skip")
        assert "train/cat/0.png" in (folder / "again.h5.skipped.txt").read_text()
        print("passed")


main()
