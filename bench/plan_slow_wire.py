#!/usr/bin/env python3
"""What `snell plan` foretells of the steps that bench/slow_wire.sh measured: calibrates between the same two hosts with their
cables let go, plans with the cables held, and compares.

usage: bench/plan_slow_wire.py PROGRAM SLOW_WIRE.json [--machine FILE]     SLOW_WIRE.json: of bench/slow_wire.sh --json
       --machine: this machine file instead of calibrating
Needs root and network namespaces, as bench/slow_wire.sh does. Exit code 1 where an error is above 15 %.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/net"))
import net_support  # noqa: E402

METHODS = {"snell32": ["adapter=snell32"], "full": ["adapter=full"]}
RATES = {"1gbit": 1, "10gbit": 10, "100mbit": 0.1}


def calibrate(program, folder):
    """A machine file of two hosts with one rank of one thread each."""
    log = folder / "calibration.log"
    with net_support.Box(folder / "box") as box:
        process = box.mpirun(log, "-np", 2, "-x", "OMP_NUM_THREADS=1", program, "plan", "--calibrate")
        if process.wait(timeout=900) != 0:
            sys.exit(log.read_text())
    machine = folder / "hosts.yaml"
    machine.write_text("".join(line for line in log.read_text().splitlines(True) if not line.startswith("snell plan:")))
    return machine


def plan(program, measured, method, machine, *more):
    done = subprocess.run([program, "plan", f"backbone={measured['backbone']}", "backbone.weights=", *METHODS[method],
                           f"data.batch_size={2 * measured['batch_per_rank']}", "train.eval_interval=0", "train.eval_last=0",
                           "--classes", "4", "--machine", machine, "--nodes", "2", "--ranks-per-node", "1", *more, "--json"],
                          check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT)
    return json.loads(done.stdout)["step"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("measured", type=pathlib.Path)
    parser.add_argument("--machine", type=pathlib.Path)
    options = parser.parse_args()
    try:
        measured = json.loads(options.measured.read_text())
    except (OSError, ValueError) as error:
        parser.exit(2, f"{options.measured}: {error}; bench/slow_wire.sh --json FILE writes such a file\n")
    worst = 0
    with tempfile.TemporaryDirectory(prefix="snell-plan-wire-") as name:
        machine = options.machine or calibrate(options.program, pathlib.Path(name))
        held = f"machine.inter_node_gbit={RATES[measured['rate']]}"
        print(f"{'':8} {'held: run s':>12} {'plan s':>8} {'error':>7} {'unheld: run s':>14} {'plan s':>8} {'held/unheld: run':>17} "
              f"{'plan':>6} {'error':>7}")
        for method, row in measured["methods"].items():
            slow, fast = (plan(options.program, measured, method, machine, *more)["seconds"] for more in ((held,), ()))
            error, ratio = slow / row["held_s"] - 1, slow / fast / row["ratio"] - 1
            worst = max(worst, abs(error))
            print(f"{method:8} {row['held_s']:12.3f} {slow:8.3f} {error:+7.1%} {row['unheld_s']:14.3f} {fast:8.3f} "
                  f"{row['ratio']:17.3f} {slow / fast:6.3f} {ratio:+7.1%}")
    print(f"largest error of a held step: {worst:.1%} (wanted: 15 %)")
    return 0 if worst <= 0.15 else 1


sys.exit(main())
