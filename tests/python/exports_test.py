"""Our exports of every adapter, read by timm and peft: their logits are ours. The formats of this project alone are read as
docs/weights.md tells.

usage: exports_test.py PYTHON_TOOL
"""
import json
import pathlib
import sys
import tempfile

import support
from support import load_file, peft, timm, torch

SMALL = {
    "vit": ["backbone=vit_tiny_patch16_224", "backbone.depth=2", "backbone.image_size=64"],
    "convnext": ["backbone=convnext_tiny", "backbone.image_size=64", "backbone.depths=[1,1,2,1]",
                 "backbone.dims=[48,96,144,192]"],
    "swin": ["backbone=swin_tiny_patch4_window7_224", "backbone.image_size=64", "backbone.window_size=4",
             "backbone.depths=[2,2]", "backbone.embed_dim=48"],
}
FULL = {"vit": ["backbone=vit_tiny_patch16_224"], "convnext": ["backbone=convnext_tiny"],
        "swin": ["backbone=swin_tiny_patch4_window7_224"]}
OWN_SIZE = "of timm's own size"
# Adapter, its settings, and what to=peft takes by itself.
ADAPTERS = [
    ("klora", [], "SNELL"), ("mixk", [], "SNELL"), ("adapter", [], "SNELL"), ("lora", [], "LORA"), ("lora_bias", [], "LORA"),
    ("snell", ["adapter.sparsity=0.9"], "SHIRA"),
    ("snell", ["adapter.sparsity=0.9", "adapter.sparsifier=soft_threshold"], "SHIRA"),
    ("snella", ["adapter.sparsity=0.9"], "SHIRA"),
]


def base_model(folder):
    """What was fine-tuned from, as a person has it: timm's model with the published weights."""
    config = json.loads((folder / "timm/config.json").read_text())
    model = timm.create_model(config["architecture"], num_classes=support.CLASSES, **config.get("model_args", {}))
    model.load_state_dict(load_file(folder / "base.safetensors"))
    return model


def check_timm(folder, images, ours, what, report):
    assert OWN_SIZE not in what or "model_args" not in json.loads((folder / "timm/config.json").read_text()), what
    model = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True)
    report.compare(f"{what}: timm", support.logits(model, images), ours)
    data = timm.data.resolve_model_data_config(model)
    assert list(data["input_size"]) == list(images.shape[1:]) and data["interpolation"] == "bilinear", data
    assert list(data["mean"]) == [0.485, 0.456, 0.406] and data["crop_mode"] == "center", data


def check_peft(folder, images, ours, what, report):
    model = peft.PeftModel.from_pretrained(base_model(folder), folder / "peft")
    kind = model.peft_config["default"].peft_type.value
    report.compare(f"{what}: peft {kind}", support.logits(model, images), ours)
    report.compare(f"{what}: peft {kind}, merged", support.logits(model.merge_and_unload(safe_merge=True), images), ours)


def check_delta(folder, images, ours, what, report):
    model, tensors = base_model(folder), load_file(folder / "delta/delta.safetensors")
    state = model.state_dict()
    for name in [name.removesuffix(".indices") for name in tensors if name.endswith(".indices")]:
        rows, columns = tensors.pop(f"{name}.indices")
        state[f"{name}.weight"][rows.long(), columns.long()] += tensors.pop(f"{name}.values")
        if f"{name}.bias" in tensors:
            state[f"{name}.bias"] += tensors.pop(f"{name}.bias")
    for name, tensor in tensors.items():  # head and class token, whole
        state[name].copy_(tensor)
    report.compare(f"{what}: delta", support.logits(model, images), ours)


def kernel_matrix(config, factor, threshold):
    """ΔW [in, out] of a kernel adapter from its factors."""
    inner, outer = factor("learnable.In_Qs"), factor("learnable.Out_Qs")
    kernel = sum((0.1, -0.1)[head % 2] * torch.cdist(inner[head], outer[head], config["norm_p"]) for head in range(config["heads"]))
    if config["method"] in ("mixk", "snella"):
        alpha, gamma, beta = (factor(f"learnable.{name}") for name in ("alpha", "gamma", "beta"))
        kernel = kernel + alpha * torch.softmax(kernel / gamma, dim=1) + beta
    if config["method"] not in ("snell", "snella"):
        return kernel
    limit = torch.quantile(kernel.abs(), threshold)
    if config["sparsifier"] == "soft_threshold":
        return kernel * (kernel.abs() - limit).clamp(min=0)
    return kernel * kernel.abs() * (kernel.abs() > limit)


def check_factors(folder, what, report):
    """type=snell: the factors give the matrix that to=timm merged."""
    config = json.loads((folder / "snell/adapter_config.json").read_text())
    tensors = {name.removeprefix("base_model.model."): tensor.double()
               for name, tensor in load_file(folder / "snell/adapter_model.safetensors").items()}
    merged, base = load_file(folder / "timm/model.safetensors"), load_file(folder / "base.safetensors")
    layer, threshold = next((name, value) for name, value in config["thresholds"].items() if name.endswith("fc2"))
    parent, _, name = layer.rpartition(".")
    matrix = kernel_matrix(config, lambda key: tensors[f"{parent}.additional_{name}.{key}"], threshold)
    theirs = merged[f"{layer}.weight"] - base[f"{layer}.weight"]
    report.compare(f"{what}: factors", matrix.T, theirs, 1e-3)  # the difference of float32 weights has few digits


def check_case(folder, what, kind, report):
    assert json.loads((folder / "peft/adapter_config.json").read_text())["peft_type"] == kind, what
    assert json.loads((folder / "snell/adapter_config.json").read_text())["peft_type"] == "SNELL", what
    if " adapter" in what:
        return
    given = load_file(folder / "io.safetensors")
    images, ours = given["images"], given["logits"]
    check_timm(folder, images, ours, what, report)
    if OWN_SIZE in what:
        check_peft(folder, images, ours, what, report)
        return
    check_delta(folder, images, ours, what, report)
    if kind != "SNELL":
        check_peft(folder, images, ours, what, report)
    if kind != "LORA":
        check_factors(folder, what, report)


def main():
    tool, report = support.Tool(sys.argv[1]), support.Report()
    cases = [(f"{name}: {adapter} {' '.join(s.partition('.')[2] for s in settings)}", backbone, adapter, settings, kind)
             for name, backbone in SMALL.items() for adapter, settings, kind in ADAPTERS]
    # SHIRA's one r must suit the smallest layer too: Swin's are small in the first stage.
    cases += [(f"{name}: snell, {OWN_SIZE}", backbone, "snell", [f"adapter.sparsity={0.95 if name == 'swin' else 0.9}"], "SHIRA")
              for name, backbone in FULL.items()]
    for what, backbone, adapter, settings, kind in cases:
        with tempfile.TemporaryDirectory(prefix="snell-python-") as name:
            folder = pathlib.Path(name) / "exports"
            tool.run("exports", folder, *backbone, f"adapter={adapter}", "adapter.rank=8", *settings)
            check_case(folder, what, kind, report)
    report.finish()


main()
