"""What the watchdog does on two hosts, with small limits: a cable that is cut, a rank that is stopped, a rank that is
killed, a rank that hangs in the middle of its work, a rank that is slow.

usage: watchdog_test.py PROGRAM
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import net_support
from net_support import support

FLOOR_S = 4
EVERY = 20  # steps between two comparisons
LIMITS = [f"dist.watchdog.floor_s={FLOOR_S}", "dist.watchdog.first_floor_s=30", "dist.watchdog.heartbeat_s=0.5",
          "dist.watchdog.factor=5", f"dist.watchdog.straggler_every={EVERY}"]


class Job:
    """A job of two ranks, a host each, past its first steps."""

    def __init__(self, box, binary, data, folder):
        self.box, self.binary, self.run, self.log = box, binary, folder / "run", folder / "mpirun.log"
        folder.mkdir()
        self.mpirun = box.launch(self.log, binary, *net_support.train_arguments(data, self.run, *LIMITS))
        net_support.wait_until("step 20", 60, lambda: self.alive() and support.last_step(self.run / "metrics.jsonl") >= 20)
        (self.pid_a,), (self.pid_b,) = (box.pids(host, binary) for host in ("hosta", "hostb"))

    def alive(self):
        assert self.mpirun.poll() is None, f"mpirun ended by itself:\n{self.log.read_text()}"
        return True

    def end(self, limit_s):
        """Seconds until no rank lives any more, seconds until mpirun has ended, mpirun's exit code."""
        began = time.monotonic()
        ranks = net_support.wait_until("the end of all ranks", limit_s,
                                       lambda: not any(self.box.pids(host, self.binary) for host in ("hosta", "hostb")))
        code = self.mpirun.wait(timeout=limit_s)
        return ranks, time.monotonic() - began, code

    def report(self, rank):
        path = self.run / f"logs/watchdog.rank{rank}.txt"
        assert path.exists(), f"{path} is missing; mpirun said:\n{self.log.read_text()}"
        return path.read_text()

    def check_report(self, rank, *words):
        text = self.report(rank)
        for word in (*words, "the last 64 phases", "backward", "stacks\nthread ", "libc.so"):
            assert word in text, f"no '{word}' in rank {rank}'s report:\n{text[:4000]}"
        # The log says the same.
        logged = "".join(path.read_text() for path in (self.run / "logs").glob(f"rank-{rank}.ERROR.*"))
        assert words[-1] in logged, f"no '{words[-1]}' in rank {rank}'s log:\n{logged}"


def cut_cable(job):
    job.box.cut("hostb")
    ranks, launcher, code = job.end(FLOOR_S + 10)
    job.check_report(0, "rank 1 on hostb is silent")
    job.check_report(1, "rank 0 on hosta is silent")
    assert code == 124, code
    job.box.run("mend", job.box.folder, "hostb")
    return ranks, launcher, code


def stop_rank(job):
    os.kill(job.pid_b, signal.SIGSTOP)
    ranks, launcher, code = job.end(FLOOR_S + 10)
    job.check_report(0, "rank 1 on hostb is silent")
    assert code == 124, code
    return ranks, launcher, code


def kill_rank(job):
    os.kill(job.pid_b, signal.SIGKILL)
    ranks, launcher, code = job.end(10)
    assert code == 137, code
    return ranks, launcher, code


def hang_rank(job):
    """The main thread alone is stopped, by a debugger's means: heartbeats go on, the work does not."""
    tracer = subprocess.Popen([sys.executable, "-c", HOLD_MAIN_THREAD, str(job.pid_b)])
    ranks, launcher, code = job.end(FLOOR_S + 10)
    assert tracer.wait(timeout=10) == 0
    for rank in (0, 1):
        assert "rank 1 on hostb is behind" in job.report(rank) or "rank 1 on hostb is stuck" in job.report(rank), \
            job.report(rank)[:2000]
    assert code == 124, code
    return ranks, launcher, code


def slow_rank(job):
    """Stopped for two thirds of the time, a rank is slow at all that it does: named in the metrics and the log, and left
    alone."""
    metrics = job.run / "metrics.jsonl"
    found = []
    began = time.monotonic()
    while not found:
        assert job.alive() and time.monotonic() < began + 30, "no straggler was named within 30 s"
        for number, pause_s in ((signal.SIGSTOP, 0.1), (signal.SIGCONT, 0.05)):
            os.kill(job.pid_b, number)
            time.sleep(pause_s)
        found = support.events(metrics, "straggler")
    took = time.monotonic() - began
    assert found[0]["rank"] == 1 and found[0]["host"] == "hostb" and found[0]["steps"] == EVERY, found
    assert found[0]["seconds"] > 1.5 * found[0]["median_seconds"], found
    logged = "".join(path.read_text() for path in (job.run / "logs").glob("rank-0.WARNING.*"))
    assert "straggler: rank 1 on hostb: " in logged, logged
    os.kill(job.pid_a, signal.SIGKILL)
    _, launcher, code = job.end(10)
    return took, launcher, code


# PTRACE_SEIZE and PTRACE_INTERRUPT stop one thread of a process, not all; waiting for it until it is gone lets its parent
# see its end, too.
HOLD_MAIN_THREAD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
pid = int(sys.argv[1])
for request in (0x4206, 0x4207):
    if libc.ptrace(request, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
while os.WIFSTOPPED(os.waitpid(pid, 0)[1]):
    pass
"""


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="snell-net-") as name:
        folder = pathlib.Path(name)
        data = net_support.make_data(binary, folder)
        for case in (slow_rank, kill_rank, stop_rank, hang_rank, cut_cable):
            with net_support.Box(folder / case.__name__) as box:
                ranks, launcher, code = case(Job(box, binary, data, folder / case.__name__ / "job"))
                did = "named" if case is slow_rank else "all ranks gone"
                print(f"{case.__name__}: {did} after {ranks:.1f} s; mpirun ended after {launcher:.1f} s with exit code {code}",
                      flush=True)
    print("passed")


main()
