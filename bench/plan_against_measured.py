"""`snell plan` against runs: each configuration trains three steps on generated pictures with generated weights, and
evaluates once; the memory it took at its peak is compared with the plan's.

usage: bench/plan_against_measured.py PROGRAM [NAME...]     names of CASES; default: all
The program's own memory differs from machine to machine, so the table has both: the error of the total, and of what is
above the program.
"""
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "integration"))
import support  # noqa: E402

VIT_S, VIT_B = "backbone=vit_small_patch16_224", "backbone=vit_base_patch16_224"
SWIN, CONVNEXT = "backbone=swin_tiny_patch4_window7_224", "backbone=convnext_tiny"
CASES = {
    "vit_s-snell-4": [VIT_S, "adapter=snell32", "adapter.sparsity=0.9", "data.batch_size=4"],
    "vit_s-snell-8": [VIT_S, "adapter=snell32", "adapter.sparsity=0.9", "data.batch_size=8"],
    "vit_s-full-8": [VIT_S, "adapter=full", "data.batch_size=8"],
    "vit_s-linear-8": [VIT_S, "adapter=linear", "data.batch_size=8"],
    "vit_s-lora-8": [VIT_S, "adapter=lora", "data.batch_size=8"],
    "vit_s-full-ema-8-accumulate": [VIT_S, "adapter=full", "data.batch_size=8", "optim.accumulate=2",
                                    "optim.ema.enabled=true"],
    "vit_s-snell-2-bfloat16": [VIT_S, "adapter=snell32", "adapter.sparsity=0.9", "data.batch_size=2",
                               "run.dtype=bfloat16", "backbone.depth=4"],
    "vit_b-snell-4": [VIT_B, "adapter=snell32", "adapter.sparsity=0.9", "data.batch_size=4"],
    "vit_b-snell-8": [VIT_B, "adapter=snell32", "adapter.sparsity=0.9", "data.batch_size=8"],
    "vit_b-full-8": [VIT_B, "adapter=full", "data.batch_size=8"],
    "vit_b-lora-8": [VIT_B, "adapter=lora", "data.batch_size=8"],
    "swin_t-snell-4": [SWIN, "adapter=snell32", "adapter.sparsity=0.9", "data.batch_size=4"],
    "swin_t-full-8": [SWIN, "adapter=full", "data.batch_size=8"],
    "convnext_t-snell-4": [CONVNEXT, "adapter=snell32", "adapter.sparsity=0.9", "data.batch_size=4"],
    "convnext_t-full-8": [CONVNEXT, "adapter=full", "data.batch_size=8"],
}
COMMON = ["data=imagefolder", "backbone.weights=", "optim=adamw", "train.max_steps=3", "data.eval_batch_size=8",
          "checkpoint.every_epochs=0", "checkpoint.every_steps=0"]


def make_data(program, folder):
    """A data set of 48 pictures to train on and 16 to judge, in four classes."""
    support.write_folders(folder / "pictures", ("a", "b", "c", "d"))
    program.run("convert", "datasets/imagefolder.yaml", folder / "pictures", folder / "pictures.h5")
    return folder / "pictures.h5"


def compare(program, folder, data, name, overrides):
    """Plan and run of one configuration: the plan's JSON and the measured MB."""
    arguments = [*COMMON, f"data.file={data}", f"run.dir={folder / name}", *overrides]
    plan = json.loads(program.run("plan", *arguments, "--json").stdout)
    program.run("train", *arguments, timeout=3600)
    finish = support.events(folder / name / "metrics.jsonl", "finish")[-1]
    return plan, finish["peak_memory_mb"]


def main():
    binary, *names = sys.argv[1:]
    program = support.Program(str(pathlib.Path(binary).resolve()), [])
    print(f"{'configuration':30} {'plan MB':>8} {'run MB':>8} {'error':>7} {'above the program':>18}   largest in")
    with tempfile.TemporaryDirectory(prefix="snell-plan-") as name:
        folder = pathlib.Path(name)
        data = make_data(program, folder)
        for case in names or CASES:
            plan, measured = compare(program, folder, data, case, CASES[case])
            planned, own = plan["total_mb"], plan["program_mb"]
            error, above = planned / measured - 1, (planned - own) / (measured - own) - 1
            print(f"{case:30} {planned:8.0f} {measured:8.0f} {error:+7.1%} {above:+18.1%}   {plan['largest_phase']}",
                  flush=True)


if __name__ == "__main__":
    main()
