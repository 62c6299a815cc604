"""Train, export in each format, and judge the merged model again from its file.

usage: export_test.py PROGRAM MPIRUN...
"""
import json
import pathlib
import sys
import tempfile

import support

SMALL = ["backbone=vit_tiny_patch16_224", "backbone.depth=2", "backbone.image_size=32", "backbone.weights=", "train.epochs=6",
         "optim.lr=1e-3", "optim.schedule.warmup_epochs=0", "adapter.sparsity=0.9"]


def header(path):
    """name -> shape, and the metadata, of a safetensors file."""
    data = path.read_bytes()
    table = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    metadata = table.pop("__metadata__")
    return {name: info["shape"] for name, info in table.items()}, metadata


def check_same_judgement(program, run, picture):
    """The merged model, loaded back without adapters, against the run itself."""
    back = ["backbone.weights=" + str(run / "export-timm/model.safetensors"), "backbone.load_head=true", "adapter.name=linear"]
    before = json.loads(program.run("eval", run, "--json").stdout)[0]
    after = json.loads(program.run("eval", run, "--checkpoint", "none", *back, "--json").stdout)[0]
    assert before["samples"] == after["samples"] == 48, (before, after)
    assert before["top1"] == after["top1"] > 50, (before, after)
    assert abs(before["loss"] - after["loss"]) < 1e-5 * before["loss"], (before, after)
    settings = [word for setting in back for word in ("--set", setting)]
    told = json.loads(program.run("predict", run, picture, "--json").stdout)[0]
    again = json.loads(program.run("predict", run, picture, "--checkpoint", "none", *settings, "--json").stdout)[0]
    assert told["predicted"] == again["predicted"] == "owl" and abs(told["percent"] - again["percent"]) < 1e-3, (told, again)
    program.run("eval", run, "--checkpoint", "none", expect=2)  # no file named
    wrong = program.run("eval", run, "--checkpoint", "none", "backbone.depth=1", *back, expect=4)
    assert "blocks.1." in wrong.stderr, wrong.stderr


def main():
    binary, *mpirun = sys.argv[1:]
    program = support.Program(binary, mpirun)
    with tempfile.TemporaryDirectory(prefix="snell-export-") as name:
        folder = pathlib.Path(name)
        data, run = folder / "images.h5", folder / "run"
        support.write_folders(folder / "images", ("cat", "dog", "owl"), train=24, test=16)
        program.run("convert", "datasets/imagefolder.yaml", folder / "images", data)
        program.run("train", "data=imagefolder", f"data.file={data}", f"run.dir={run}", *SMALL)

        wrote = json.loads(program.run("export", run, "to=timm", "--json").stdout)
        assert [pathlib.Path(f["file"]).name for f in wrote["files"]] == ["model.safetensors", "config.json"], wrote
        config = json.loads((run / "export-timm/config.json").read_text())
        assert config["label_names"] == ["cat", "dog", "owl"], config
        tensors, _ = header(run / "export-timm/model.safetensors")
        assert tensors["blocks.0.attn.qkv.weight"] == [576, 192] and not any("additional" in n for n in tensors), tensors
        check_same_judgement(program, run, folder / "images/test/owl/119.png")

        program.run("export", run, "to=peft", ranks=2)
        assert json.loads((run / "export-peft/adapter_config.json").read_text())["peft_type"] == "SHIRA"
        program.run("export", run, "to=safetensors", f"out={folder / 'factors'}")
        tensors, metadata = header(folder / "factors/adapter.safetensors")
        assert tensors["blocks.0.attn.additional_q.learnable.In_Qs"] == [2, 192, 16], tensors
        assert "thresholds/blocks.1.mlp.fc2" in tensors and json.loads(metadata["config"])["adapter"]["name"] == "snell"
        data.rename(folder / "moved.h5")  # the data is needed for the names only
        program.run("export", run, "to=delta", "--checkpoint", "best")
        tensors, metadata = header(run / "export-delta/delta.safetensors")
        assert "label_names" not in metadata and json.loads(metadata["layers"])["blocks.0.mlp.fc1"]["shape"] == [768, 192]
        program.run("inspect", run / "export-delta/delta.safetensors")

        taken = program.run("export", run, "to=timm", expect=2)
        assert "overwrite=true" in taken.stderr, taken.stderr
        program.run("export", run, "to=timm", "overwrite=true")
        assert "known: delta, peft, safetensors, timm" in program.run("export", run, "to=tim", expect=2).stderr
        program.run("export", run, "to=peft", "type=lora", expect=2)
        print("passed")


main()
