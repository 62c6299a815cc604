#!/usr/bin/env python3
"""`snell plan` against runs: each configuration trains a few steps on generated pictures with generated weights; the
memory that a rank took at its peak, and the seconds of a step over those of a reference configuration, are compared with
what the plan foretold.

usage: bench/plan_against_measured.py PROGRAM [NAME...]                  memory, one rank, with an evaluation (CASES)
       bench/plan_against_measured.py PROGRAM --judge [NAME...] [options] memory and step times, 1 and 2 ranks (JUDGED)

--judge       calibrates first (`snell plan --calibrate`: single operations and small models of no published size), then
              runs each configuration between two runs of the reference, so that a slow minute meets both; a ratio is the
              median over the rounds. Nothing else should run on the machine meanwhile.
--ranks 1,2   numbers of ranks          --rounds 2    runs of each          --steps 3   steps of a run; the first is left out
--machine F   this machine file instead of calibrating; --keep F writes the calibration there
--mpirun "…"  default: mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1
--json F      also write what was found

The program's own memory differs from machine to machine, so the table has both: the error of the total, and of what is
above the program.
"""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "integration"))
import support  # noqa: E402

VIT_S, VIT_B, VIT_L = (f"backbone=vit_{size}_patch16_224" for size in ("small", "base", "large"))
SWIN, CONVNEXT = "backbone=swin_tiny_patch4_window7_224", "backbone=convnext_tiny"
SWIN_B = "backbone=swin_base_patch4_window7_224"
SNELL = ["adapter=snell32", "adapter.sparsity=0.9"]
CASES = {
    "vit_s-snell-4": [VIT_S, *SNELL, "data.batch_size=4"],
    "vit_s-snell-8": [VIT_S, *SNELL, "data.batch_size=8"],
    "vit_s-full-8": [VIT_S, "adapter=full", "data.batch_size=8"],
    "vit_s-linear-8": [VIT_S, "adapter=linear", "data.batch_size=8"],
    "vit_s-lora-8": [VIT_S, "adapter=lora", "data.batch_size=8"],
    "vit_s-full-ema-8-accumulate": [VIT_S, "adapter=full", "data.batch_size=8", "optim.accumulate=2",
                                    "optim.ema.enabled=true"],
    "vit_s-snell-2-bfloat16": [VIT_S, *SNELL, "data.batch_size=2", "run.dtype=bfloat16", "backbone.depth=4"],
    "vit_b-snell-4": [VIT_B, *SNELL, "data.batch_size=4"],
    "vit_b-snell-8": [VIT_B, *SNELL, "data.batch_size=8"],
    "vit_b-full-8": [VIT_B, "adapter=full", "data.batch_size=8"],
    "vit_b-lora-8": [VIT_B, "adapter=lora", "data.batch_size=8"],
    "swin_t-snell-4": [SWIN, *SNELL, "data.batch_size=4"],
    "swin_t-full-8": [SWIN, "adapter=full", "data.batch_size=8"],
    "convnext_t-snell-4": [CONVNEXT, *SNELL, "data.batch_size=4"],
    "convnext_t-full-8": [CONVNEXT, "adapter=full", "data.batch_size=8"],
}
REFERENCE = [VIT_S, *SNELL, "data.batch_size=8"]
JUDGED = {
    "vit_s-snell-8": REFERENCE,
    "vit_s-full-8": [VIT_S, "adapter=full", "data.batch_size=8"],
    "vit_b-snell-4": [VIT_B, *SNELL, "data.batch_size=4"],
    "vit_b-full-4": [VIT_B, "adapter=full", "data.batch_size=4"],
    "vit_l-snell-2": [VIT_L, *SNELL, "data.batch_size=2"],
    "vit_l-full-2": [VIT_L, "adapter=full", "data.batch_size=2"],
    "swin_b-snell-4": [SWIN_B, *SNELL, "data.batch_size=4"],
    "swin_b-full-4": [SWIN_B, "adapter=full", "data.batch_size=4"],
}
COMMON = ["data=imagefolder", "backbone.weights=", "optim=adamw", "data.eval_batch_size=8", "checkpoint.every_epochs=0",
          "checkpoint.every_steps=0"]
NO_EVALUATION = ["train.eval_interval=0", "train.eval_last=0", "run.log_every=1"]
MPIRUN = "mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1"


def make_data(program, folder):
    """A data set of 48 pictures to train on and 16 to judge, in four classes."""
    support.write_folders(folder / "pictures", ("a", "b", "c", "d"))
    program.run("convert", "datasets/imagefolder.yaml", folder / "pictures", folder / "pictures.h5")
    return folder / "pictures.h5"


def compare(program, folder, data, name, overrides):
    """Plan and run of one configuration: the plan's JSON and the measured MB."""
    arguments = [*COMMON, "train.max_steps=3", f"data.file={data}", f"run.dir={folder / name}", *overrides]
    plan = json.loads(program.run("plan", *arguments, "--json").stdout)
    program.run("train", *arguments, timeout=3600)
    finish = support.events(folder / name / "metrics.jsonl", "finish")[-1]
    return plan, finish["peak_memory_mb"]


class Judge:
    """Runs and plans of configurations on some ranks, on one machine file."""

    def __init__(self, program, folder, data, machine, steps):
        self.program, self.folder, self.data, self.machine, self.steps = program, folder, data, machine, steps
        self.runs = 0

    def plan(self, overrides, ranks):
        arguments = [*COMMON, *NO_EVALUATION, f"data.file={self.data}", *overrides]
        return json.loads(self.program.run("plan", *arguments, f"train.max_steps={self.steps}", "--json", "--machine",
                                           self.machine, "--ranks", ranks).stdout)

    def run(self, overrides, ranks):
        """Median seconds of the steps after the first, and the peak memory of a rank in MB."""
        self.runs += 1
        run = self.folder / f"run-{self.runs}"
        self.program.run("train", *COMMON, *NO_EVALUATION, f"data.file={self.data}", f"run.dir={run}",
                         f"train.max_steps={self.steps}", *overrides, ranks=ranks, timeout=3600)
        steps = [event["seconds_per_step"] for event in support.events(run / "metrics.jsonl", "step")]
        finish = support.events(run / "metrics.jsonl", "finish")[-1]
        return statistics.median(steps[1:] or steps), finish["peak_memory_mb"]

    def judge(self, overrides, ranks, rounds):
        ratios, memory = [], 0
        before, _ = self.run(REFERENCE, 1)
        for _ in range(rounds):
            seconds, peak = self.run(overrides, ranks)
            after, _ = self.run(REFERENCE, 1)
            ratios.append(2 * seconds / (before + after))
            before, memory = after, max(memory, peak)
        plan, reference = self.plan(overrides, ranks), self.plan(REFERENCE, 1)
        return {"plan_mb": plan["total_mb"], "run_mb": memory, "ratios": ratios,
                "plan_seconds": plan["step"]["seconds"], "reference_seconds": before,
                "plan_ratio": plan["step"]["seconds"] / reference["step"]["seconds"],
                "run_ratio": statistics.median(ratios)}


def judge_all(program, folder, data, options):
    machine = options.machine
    if machine is None:
        machine = options.keep or folder / "machine.yaml"
        ranks = max(options.ranks)
        done = program.run("plan", "--calibrate", ranks=ranks if ranks > 1 else None, timeout=900)
        pathlib.Path(machine).write_text(done.stdout)
    judge = Judge(program, folder, data, pathlib.Path(machine).resolve(), options.steps)
    print(f"{'configuration':18} {'ranks':>5} {'plan MB':>8} {'run MB':>8} {'error':>7} {'plan ratio':>11} "
          f"{'run ratio':>10} {'error':>7}   rounds' ratios")
    found = {}
    for name in options.names or JUDGED:
        for ranks in options.ranks:
            row = judge.judge(JUDGED[name], ranks, options.rounds)
            found[f"{name}-np{ranks}"] = row
            print(f"{name:18} {ranks:5} {row['plan_mb']:8.0f} {row['run_mb']:8.0f} "
                  f"{row['plan_mb'] / row['run_mb'] - 1:+7.1%} {row['plan_ratio']:11.3f} {row['run_ratio']:10.3f} "
                  f"{row['plan_ratio'] / row['run_ratio'] - 1:+7.1%}   "
                  f"{' '.join(f'{ratio:.3f}' for ratio in row['ratios'])}", flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=2))
    memory = max(abs(row["plan_mb"] / row["run_mb"] - 1) for row in found.values())
    ratio = max(abs(row["plan_ratio"] / row["run_ratio"] - 1) for row in found.values())
    print(f"largest errors: memory {memory:.1%} (wanted: 10 %), ratio of step times {ratio:.1%} (wanted: 20 %)")
    return 0 if memory <= 0.1 and ratio <= 0.2 else 1


def compare_all(program, folder, data, names):
    print(f"{'configuration':30} {'plan MB':>8} {'run MB':>8} {'error':>7} {'above the program':>18}   largest in")
    for case in names or CASES:
        plan, measured = compare(program, folder, data, case, CASES[case])
        planned, own = plan["total_mb"], plan["program_mb"]
        error, above = planned / measured - 1, (planned - own) / (measured - own) - 1
        print(f"{case:30} {planned:8.0f} {measured:8.0f} {error:+7.1%} {above:+18.1%}   {plan['largest_phase']}",
              flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--ranks", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--machine")
    parser.add_argument("--keep")
    parser.add_argument("--mpirun", default=MPIRUN)
    parser.add_argument("--json")
    options = parser.parse_args()
    program = support.Program(str(pathlib.Path(options.program).resolve()), options.mpirun.split())
    with tempfile.TemporaryDirectory(prefix="snell-plan-") as name:
        folder = pathlib.Path(name)
        data = make_data(program, folder)
        if options.judge:
            return judge_all(program, folder, data, options)
        return compare_all(program, folder, data, options.names)


if __name__ == "__main__":
    sys.exit(main())
