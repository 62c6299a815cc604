"""The work of bench/slow_wire.sh."""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/net"))
import net_support  # noqa: E402
from net_support import support  # noqa: E402

METHODS = {"snell32": ["adapter=snell32"], "full": ["adapter=full"]}
DROPPED = 1  # steps after the cables were changed: one was under way


def parse():
    parser = argparse.ArgumentParser(prog="bench/slow_wire.sh")
    parser.add_argument("--json", type=pathlib.Path, help="a file for everything that was measured")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of unheld and held steps (default 5)")
    parser.add_argument("--steps", type=int, default=2, help="steps that count in each half of a round (default 2)")
    parser.add_argument("--rate", default="1gbit", help="of the held cables, as tc writes it (default 1gbit)")
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=1, help="images a rank (default 1)")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/bin/snell")
    return parser.parse_args()


def hold(box, rate):
    """Holds every cable to the rate, both ways; None lets go. The bucket takes one segment and little more."""
    for host, device in [("hosta", "eth0"), ("hostb", "eth0"), ("switch", "to-hosta"), ("switch", "to-hostb")]:
        kind = ["add", "dev", device, "root", "tbf", "rate", rate, "burst", "96kb", "latency", "100ms"]
        box.run("exec", box.folder, host, "tc", "qdisc", *(kind if rate else ["del", "dev", device, "root"]))


def steps_of(metrics):
    return support.events(metrics, "step")


def wait_for_step(process, log, metrics, step):
    while support.last_step(metrics) < step:
        if process.poll() is not None:
            sys.exit(f"the run ended with {process.returncode} before step {step}:\n{log.read_text()}")
        time.sleep(0.02)


def measure(arguments, box, folder, data, method):
    """Rounds of unheld and held steps in one run."""
    run, log = folder / method, folder / f"{method}.log"
    metrics = run / "metrics.jsonl"
    train = [argument for argument in net_support.train_arguments(data, run)
             if not argument.startswith(("backbone", "adapter", "data.batch_size"))]
    train += [*METHODS[method], f"backbone={arguments.backbone}", "backbone.weights=", f"data.batch_size={2 * arguments.batch}"]
    process = box.mpirun(log, "-np", 2, arguments.program.resolve(), *train)
    rounds, done = [], 2  # the first steps make what later ones keep
    try:
        for _ in range(arguments.rounds):
            halves = {}
            for name in ("unheld", "held"):
                wait_for_step(process, log, metrics, done)
                if name == "held":
                    hold(box, arguments.rate)
                first = support.last_step(metrics) + DROPPED + 1
                done = first + arguments.steps - 1
                wait_for_step(process, log, metrics, done)
                if name == "held":
                    hold(box, None)
                counted = [step for step in steps_of(metrics) if first <= step["step"] <= done]
                halves[name] = {key: statistics.mean(step[key] for step in counted)
                                for key in ("seconds_per_step", "reduce_exposed_s")}
            rounds.append(halves)
            print(f"{method:8} unheld {halves['unheld']['seconds_per_step']:.3f} s, held "
                  f"{halves['held']['seconds_per_step']:.3f} s, ratio "
                  f"{halves['held']['seconds_per_step'] / halves['unheld']['seconds_per_step']:.3f}", flush=True)
    finally:
        process.terminate()
        process.wait(timeout=60)
    last = steps_of(metrics)[-1]

    def median(name, key="seconds_per_step"):
        return statistics.median(pair[name][key] for pair in rounds)

    return {"unheld_s": median("unheld"), "held_s": median("held"),
            "unheld_exposed_s": median("unheld", "reduce_exposed_s"), "held_exposed_s": median("held", "reduce_exposed_s"),
            "ratio": statistics.median(pair["held"]["seconds_per_step"] / pair["unheld"]["seconds_per_step"]
                                       for pair in rounds),
            "bytes_all_reduced": last["bytes_all_reduced"], "wire_bytes": last["wire_bytes"], "rounds": rounds}


def main():
    arguments = parse()
    result = {"backbone": arguments.backbone, "ranks": 2, "nodes": 2, "batch_per_rank": arguments.batch, "threads": 1,
              "rate": arguments.rate, "methods": {}}
    with tempfile.TemporaryDirectory(prefix="snell-slow-wire-") as name:
        folder = pathlib.Path(name)
        data = net_support.make_data(arguments.program.resolve(), folder)
        for method in METHODS:
            with net_support.Box(folder / f"box-{method}") as box:
                result["methods"][method] = measure(arguments, box, folder, data, method)
    print(f"\n{arguments.backbone}, {arguments.batch} images a rank, two ranks of one thread, {arguments.rate}: medians of "
          f"{arguments.rounds} rounds")
    print(f"{'':8} {'MB a step':>9} {'unheld s':>9} {'held s':>9} {'held/unheld':>12} {'exposed, held s':>16}")
    for method, row in result["methods"].items():
        print(f"{method:8} {row['bytes_all_reduced'] / 1e6:9.1f} {row['unheld_s']:9.3f} {row['held_s']:9.3f} "
              f"{row['ratio']:12.3f} {row['held_exposed_s']:16.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


main()
