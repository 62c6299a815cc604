"""Bytes on the wire between two hosts, counted three ways: by the program (metrics.jsonl), between the program and MPI
(PMPI), and by the hosts' own interfaces. Each job runs twice, with few steps and with many: the difference is what the
steps send, without start, broadcast and end.

usage: wire_test.py PROGRAM PMPI_COUNTER
"""
import pathlib
import subprocess
import sys
import tempfile

import net_support
from net_support import support

FEW, MANY = 3, 23
# On the interface a step also has headers of Ethernet, IP and TCP (66 bytes a segment, of up to 64 KB here), answers, and
# the control plane's messages (losses, and what the ranks agree on).
MARGIN_SHARE, MARGIN_BYTES = 0.01, 8192

# name: ranks a host, overrides, payload of gradients a step relative to float32, what crosses the cable each way over it
JOBS = {
    "full": (1, ["adapter=full"], 1, 1),
    "snell32": (1, ["adapter=snell32"], 1, 1),
    "bfloat16": (1, ["adapter=full", "dist.reduce_dtype=bfloat16"], 0.5, 1),
    # A ring of four ranks crosses the cable once each way, with 2 (R - 1)/R of the payload; in two levels each of a host's
    # two ranks sends 2 (N - 1)/N of its half.
    "ring": (2, ["adapter=full", "dist.two_level=never"], 1, 1.5),
    "two_levels": (2, ["adapter=full"], 1, 1),
}


class Counts:
    """Of one run: what the program says of a step, MPI's counters, and the interface's bytes (received, sent) on hosta."""

    def __init__(self, box, folder, binary, counter, data, name, steps):
        slots, overrides, *_ = JOBS[name]
        run, log, files = folder / f"{name}-{steps}", folder / f"{name}-{steps}.log", folder / f"{name}-{steps}.count"
        train = [argument for argument in net_support.train_arguments(data, run, f"train.max_steps={steps}", *overrides)
                 if argument != "adapter=snell8"]
        before = box.bytes("hosta")
        process = box.mpirun(log, "-np", 2 * slots, "-x", f"LD_PRELOAD={counter}", "-x", f"SNELL_PMPI_COUNT_FILE={files}",
                             binary, *train)
        code = process.wait(timeout=100)
        assert code == 0, f"{name}: exit code {code}\n{log.read_text()}"
        self.cable = [after - earlier for earlier, after in zip(before, box.bytes("hosta"))]
        self.step = support.events(run / "metrics.jsonl", "step")[-1]
        self.finish = support.events(run / "metrics.jsonl", "finish")[-1]
        lines = [line.split() for line in pathlib.Path(f"{files}.0").read_text().splitlines()]
        self.mpi = {communicator: int(count) for communicator, _, count in lines}


def check(name, few, many):
    """One line of what was counted."""
    slots, overrides, share, factor = JOBS[name]
    ranks, steps = 2 * slots, MANY - FEW
    payload = many.step["bytes_all_reduced"]
    assert payload == 4 * share * many.finish["trainable_parameters"], (name, payload)
    assert many.step["wire_bytes"] == round(payload * 2 * (ranks - 1) / ranks), (name, many.step)

    between = {key: (many.mpi[key] - few.mpi[key]) / steps for key in many.mpi}
    if name == "two_levels":
        across = many.step["bytes_across_nodes"]
        assert payload / slots <= across < payload / slots + 64, (name, many.step)
        assert sum(between.values()) == across, (name, between, across)  # the rest are scatters and gathers
    else:
        assert between == {"snell.tensors": payload}, (name, between)
        assert many.step["bytes_across_nodes"] == 0, (name, many.step)

    wanted = factor * payload
    cable = [(later - earlier) / steps for earlier, later in zip(few.cable, many.cable)]
    for count in cable:
        assert wanted <= count <= wanted * (1 + MARGIN_SHARE) + MARGIN_BYTES, (name, wanted, cable)
    print(f"{name:10} payload {payload:9,} bytes a step; by the cable {factor:3} x it, {wanted:11,.0f}; counted "
          f"{cable[0]:11,.0f} in, {cable[1]:11,.0f} out (+{max(cable) / wanted - 1:.2%})", flush=True)


def main():
    binary, counter = (str(pathlib.Path(argument).resolve()) for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="snell-wire-") as name:
        folder = pathlib.Path(name)
        data = net_support.make_data(binary, folder)
        for slots in (1, 2):
            with net_support.Box(folder / f"box-{slots}", "--slots", str(slots)) as box:
                for job in (job for job in JOBS if JOBS[job][0] == slots):
                    check(job, *(Counts(box, folder, binary, counter, data, job, steps) for steps in (FEW, MANY)))
    print("passed")


try:
    main()
except subprocess.TimeoutExpired as error:
    sys.exit(f"no end: {error}")
