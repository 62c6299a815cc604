"""timm's models with random weights, and this project's with the same file: equal logits. And every shipped config is the
model of timm whose name it has.

usage: models_test.py PYTHON_TOOL
"""
import json
import pathlib
import sys
import tempfile

import support
from support import load_file, save_file, timm, torch

MODELS = ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_tiny_patch16_384",
          "vit_small_patch14_dinov2", "swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224", "convnext_tiny",
          "convnext_base"]


def randomise(model):
    """timm's start values leave out much: biases are zero, layer scales next to it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.normal_(0.5, 0.1)
            elif parameter.dim() <= 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


def check_logits(name, tool, folder, report):
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=support.CLASSES)
    randomise(model)
    images = torch.randn(2, *model.pretrained_cfg["input_size"])
    weights, given, answer = (folder / f"{part}.safetensors" for part in ("weights", "given", "answer"))
    save_file(model.state_dict(), weights)
    save_file({"images": images}, given)
    tool.run("logits", weights, given, answer, f"backbone={name}")
    theirs = support.logits(model, images)
    assert (theirs[0] - theirs[1]).abs().max() > 100 * support.TOLERANCE * theirs.abs().max(), f"{name} ignores its input"
    report.compare(f"{name}: logits", load_file(answer)["logits"], theirs)


def check_layouts(tool, folder):
    """Names and shapes of every tensor, without the tensors."""
    tool.run("layouts", folder / "layouts.json")
    layouts = json.loads((folder / "layouts.json").read_text())
    for name, layout in layouts.items():
        with torch.device("meta"):
            model = timm.create_model(layout["architecture"], num_classes=support.CLASSES, **layout["arguments"])
        theirs = {key: list(tensor.shape) for key, tensor in model.named_parameters()}
        assert theirs == layout["tensors"], (name, set(theirs.items() ^ layout["tensors"].items()))
        assert getattr(model, "global_pool", "avg") == layout["global_pool"], name
    print(f"{len(layouts)} configs have timm's tensors")


def main():
    tool, report = support.Tool(sys.argv[1]), support.Report()
    with tempfile.TemporaryDirectory(prefix="snell-python-") as name:
        folder = pathlib.Path(name)
        check_layouts(tool, folder)
        for model in MODELS:
            check_logits(model, tool, folder, report)
    report.finish()


main()
