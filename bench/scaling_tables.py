#!/usr/bin/env python3
"""The tables of docs/scaling.md: what `snell plan` computes for ViT-B, -L, -H and -g on 1 to 1,024 GPUs, as Markdown.
Nothing is measured by this.

usage: bench/scaling_tables.py PROGRAM [MACHINE=h100x8] [SAMPLES_A_GPU=32]
"""
import json
import subprocess
import sys

MODELS = {"ViT-B/16": "vit_base_patch16_224", "ViT-L/16": "vit_large_patch16_224", "ViT-H/14": "vit_huge_patch14_224",
          "ViT-g/14": "vit_giant_patch14_224"}
SHOWN = (1, 8, 16, 64, 256, 1024)


def scaling(program, model, machine, samples):
    """The plan's JSON of SNELL-32 (s = 0.9, bfloat16), with full fine-tuning beside it."""
    done = subprocess.run([program, "plan", f"backbone={model}", "backbone.weights=", "adapter=snell32",
                           "adapter.sparsity=0.9", "run.dtype=bfloat16", f"data.batch_size={samples}", "train.eval_interval=0",
                           "train.eval_last=0", "--machine", machine, "--ranks", "1", "--scaling", "--json"],
                          check=True, text=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["scaling"]


def main():
    program, machine, samples, *_ = [*sys.argv[1:], *("h100x8", "32")[len(sys.argv) - 2:]]
    for name, model in MODELS.items():
        found = scaling(program, model, machine, samples)
        snell, full = found["snell"]["weak"], found["full fine-tuning"]["weak"]
        print(f"\n{name}, {samples} samples a GPU; tensors a GPU: SNELL-32 {snell[0]['memory_mb']:,} MB, full fine-tuning "
              f"{full[0]['memory_mb']:,} MB\n")
        print("| GPUs | SNELL-32: step, ms | sent, MB | waits, ms | efficiency, % | full: step, ms | sent, MB | waits, ms "
              "| efficiency, % |")
        print("|---|---|---|---|---|---|---|---|---|")
        for ours, theirs in zip(snell, full):
            if ours["ranks"] in SHOWN:
                cells = [f"{row['step_ms']:.1f} | {row['sent_mb']:,.0f} | {row['exposed_ms']:.1f} | {row['efficiency']:.1f}"
                         for row in (ours, theirs)]
                print(f"| {ours['ranks']:,} | {cells[0]} | {cells[1]} |")


main()
