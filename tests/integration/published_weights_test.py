"""docs/weights.md's lines, with files in the five published formats at a small size: fetched from a server on this
machine by checkpoints/get.sh, loaded by the configs that are made for them; a file of the published code; files that
must be refused.

usage: published_weights_test.py PROGRAM MPIRUN...
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import support

FIXTURES = support.ROOT / "tests/fixtures/weights"
VIT = ["backbone.image_size=32", "backbone.patch_size=8", "backbone.embed_dim=48", "backbone.depth=2",
       "backbone.num_heads=3"]
SWIN = ["backbone.image_size=32", "backbone.patch_size=2", "backbone.embed_dim=24", "backbone.depths=[2,2]",
        "backbone.num_heads=2", "backbone.window_size=4"]
CONVNEXT = ["backbone.image_size=64", "backbone.depths=[1,1,2,1]", "backbone.dims=[8,16,32,64]"]
# name for get.sh: published file, small one in its format, config, settings, what the log's table must hold
FILES = {
    "vit": ("ViT-B_16.npz", "vit_google.npz", "vit_base_patch16_224_in21k", VIT,
            ["(npz): 30 converted, 4 ignored", "converted      2  blocks.*.attn.qkv.weight",
             "ignored        1  head/kernel"]),
    "mae": ("mae_pretrain_vit_base.pth", "vit_mae.pth", "vit_base_patch16_224_mae", VIT, ["(torch (zip)): 30 loaded"]),
    "mocov3": ("linear-vit-b-300ep.pth.tar", "vit_moco_legacy.pth.tar", "vit_base_patch16_224_mocov3", VIT,
               ["(torch (legacy)): 30 converted, 2 ignored", "module.head.weight", "the head"]),
    "swin": ("swin_base_patch4_window7_224_22k.pth", "swin_microsoft.pth", "swin_base_patch4_window7_224_22k", SWIN,
             ["converted      1  layers.*.downsample.reduction.weight", "relative_position_index", "computed from"]),
    "convnext": ("convnext_base_22k_224.pth", "convnext_facebook.pth", "convnext_base_22k_224", CONVNEXT,
                 ["converted      2  stem.*.weight", "stages.*.*.pwconv1.weight", "ignored        1  head.weight"]),
}


def serve(folder, port_file):
    script = support.ROOT / "tests/launch/range_server.py"
    process = subprocess.Popen([sys.executable, "-B", script, folder, port_file], stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 20
    while not port_file.exists():
        assert time.monotonic() < limit, "the server did not start"
        time.sleep(0.05)
    return process, f"http://127.0.0.1:{port_file.read_text()}"


def main():
    program = support.Program(sys.argv[1], sys.argv[2:])
    with tempfile.TemporaryDirectory(prefix="snell-weights-") as name:
        folder = pathlib.Path(name)
        checkpoints = folder / "checkpoints"
        os.environ["SNELL_CHECKPOINTS"] = str(checkpoints)
        support.write_cub(folder / "cub", num_classes=200)
        program.run("convert", "datasets/fgvc/cub.yaml", folder / "cub", folder / "cub.h5")
        dry_run = ["train", "experiment=fgvc/snell32/cub", f"data.file={folder / 'cub.h5'}", "adapter.rank=8",
                   f"run.dir={folder / 'run'}", "--dry-run"]

        (folder / "www").mkdir()
        for published, small, *_ in FILES.values():
            shutil.copy(FIXTURES / small, folder / "www" / published)
        server, address = serve(folder / "www", folder / "port")
        try:
            for key, (published, _, config, settings, expected) in FILES.items():
                subprocess.run([support.ROOT / "checkpoints/get.sh", "--from", address, key], check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                shown = program.run(*dry_run, f"backbone={config}", *settings).stderr
                for text in [str(checkpoints / published), *expected]:
                    assert text in shown, f"{key}: no '{text}' in\n{shown}"
        finally:
            server.terminate()
        assert not (folder / "run").exists(), "a dry run left something"

        # A file of the published code: its 7 classes judged without a run, and trained on.
        support.write_folders(folder / "seven", "abcdefg")
        program.run("convert", "datasets/imagefolder.yaml", folder / "seven", folder / "seven.h5")
        best = ["data=imagefolder", f"data.file={folder / 'seven.h5'}", "backbone=vit_base_patch16_224", *VIT,
                f"backbone.weights={FIXTURES / 'snell_model_best.pth'}", "backbone.load_head=true",
                "adapter=snell8", "adapter.sparsity=0.9"]
        judged = json.loads(program.run("eval", *best, "--json").stdout)[0]
        assert judged["checkpoint"].endswith("snell_model_best.pth") and judged["samples"] > 0, judged
        sparser = json.loads(program.run("eval", *best, "adapter.sparsity=0.5", "--json").stdout)[0]
        assert sparser["loss"] != judged["loss"], "the sparsity of the config does not matter"
        wrong_rank = program.run("eval", *best, "adapter.rank=16", expect=4)
        assert "In_Qs" in wrong_rank.stderr, wrong_rank.stderr
        program.run("eval", *best, "backbone.load_head=false", expect=2)

        # A SNELLA recipe on a file of another author, on two ranks: the layers' sparsities reach the target.
        snella = folder / "snella"
        program.run("train", "experiment=fgvc/snella32/cub", f"data.file={folder / 'cub.h5'}", f"run.dir={snella}",
                    "backbone=vit_base_patch16_224_mae", *VIT, "adapter.allocator.target_sparsity=0.5", "train.epochs=3",
                    "train.eval_last=1", "optim.schedule.warmup_epochs=0", "adapter.allocator.final_epochs=1", ranks=2)
        layers = support.events(snella / "metrics.jsonl", "sparsity")[-1]["layers"]
        kept, entries = (sum(layer[key] for layer in layers) for key in ("kept", "entries"))
        assert len({layer["sparsity"] for layer in layers}) > 1 and abs(kept / entries - 0.5) < 1e-3, layers
        assert "<svg" in (snella / "report.html").read_text() and (snella / "model_ema.safetensors").exists()

        # A wrong file, by content: named and refused.
        other = program.run(*dry_run, "backbone=convnext_base_22k_224", *CONVNEXT,
                            f"backbone.weights={checkpoints / 'ViT-B_16.npz'}", expect=4)
        assert "It lacks: stem.0.weight" in other.stderr, other.stderr
        evil = program.run(*dry_run, "backbone=vit_base_patch16_224_mae", *VIT,
                           f"backbone.weights={FIXTURES / 'malicious.pth'}", expect=4)
        assert "posix.system" in evil.stderr or "posix system" in evil.stderr, evil.stderr
        assert not (support.ROOT / "snell_pickle_ran").exists(), "the file's code was run"
    print("passed")


main()
