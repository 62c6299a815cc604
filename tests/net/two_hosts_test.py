"""A run of two ranks on two hosts finishes, and its gradients go over the cable.

usage: two_hosts_test.py PROGRAM
"""
import pathlib
import subprocess
import sys
import tempfile

import net_support
from net_support import support

STEPS = 20


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="snell-net-") as name:
        folder = pathlib.Path(name)
        data, run, log = net_support.make_data(binary, folder), folder / "run", folder / "mpirun.log"
        with net_support.Box(folder / "box") as box:
            train = net_support.train_arguments(data, run, f"train.max_steps={STEPS}", "train.eval_last=1")
            try:
                code = box.mpirun(log, "-np", 2, binary, *train).wait(timeout=120)
            except subprocess.TimeoutExpired:
                code = "none within 120 s"
            assert code == 0, f"exit code {code}\n{log.read_text()}"
            received, sent = box.bytes("hostb")
        finish = support.events(run / "metrics.jsonl", "finish")[-1]
        assert finish["step"] == STEPS and finish["ranks"] == 2, finish
        payload = STEPS * finish["bytes_all_reduced_per_step"]
        # Two ranks: an all-reduce takes the payload once in each direction; beside it the start and the control plane.
        for count in (received, sent):
            assert payload < count < 1.5 * payload + 2e6, (received, sent, payload)
        hosts = {text.split(" on ")[-1].strip() for path in (run / "logs").glob("rank-*.INFO.*")
                 for text in path.read_text().splitlines() if ", rank " in text}
        assert hosts == {"hosta", "hostb"}, hosts
        print(f"passed: hostb received {received} and sent {sent} bytes, its ranks' payload was {payload}")


main()
