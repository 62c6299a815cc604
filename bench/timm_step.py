"""One full fine-tuning step of timm's ViT-B/16: forward, backward, AdamW, as `snell bench step rows=full` makes it.

usage: timm_step.py [--model vit_base_patch16_224] [--batch 8] [--threads 2] [--warmup 1] [--steps 5]
                    [--device cpu|cuda] [--dtype float32|bfloat16] [--json]
Made-up images and random weights; bfloat16: autocast over float32 parameters. TensorFloat-32 stays off, as it is in snell.
Prints the median of the steps' seconds, and the least.
"""
import argparse
import json
import statistics
import time

import timm
import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    model = timm.create_model(options.model, pretrained=False).train().to(options.device)
    size = model.default_cfg["input_size"]
    images = torch.randn(options.batch, *size).to(options.device)
    labels = (torch.arange(options.batch) % model.num_classes).to(options.device)
    narrow = torch.autocast(options.device, torch.bfloat16, enabled=options.dtype == "bfloat16")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)

    seconds = []
    for step in range(options.warmup + options.steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        with narrow:
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        if options.device == "cuda":
            torch.cuda.synchronize()
        if step >= options.warmup:
            seconds.append(time.perf_counter() - start)

    told = {"model": options.model, "batch": options.batch, "device": options.device, "dtype": options.dtype,
            "threads": torch.get_num_threads(), "timm": timm.__version__, "torch": torch.__version__, "seconds": seconds, "seconds_median": statistics.median(seconds),
            "seconds_min": min(seconds)}
    print(json.dumps(told) if options.json else
          f"{told['seconds_median']:.3f} s a step (least {told['seconds_min']:.3f}), {options.model}, batch {options.batch}, "
          f"{options.dtype} on {options.device}, {told['threads']} threads, timm {timm.__version__}, torch {torch.__version__}")


main()
