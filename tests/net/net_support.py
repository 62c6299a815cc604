"""What the tests between hosts share: a box of hosts (net_box.sh), and a small job to train in it."""
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))
import support  # noqa: E402

NET_BOX = ROOT / "tests/net/net_box.sh"


class Box:
    """`with Box(folder, "--rate", "1gbit") as box`: hosts hosta, hostb, ... as net_box.sh tells; they end with the block."""

    def __init__(self, folder, *options):
        self.folder, self.options = pathlib.Path(folder), options

    def __enter__(self):
        self.run("start", self.folder, *self.options)
        return self

    def __exit__(self, *_):
        self.run("stop", self.folder)

    @staticmethod
    def run(*arguments):
        return subprocess.run([NET_BOX, *map(str, arguments)], check=True, text=True, stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, timeout=60).stdout

    def mpirun(self, log, *arguments):
        """Starts mpirun on hosta in a session of its own, its words going to the file `log`; the process."""
        with open(log, "w") as out:
            return subprocess.Popen([NET_BOX, "mpirun", self.folder, *map(str, arguments)], cwd=ROOT, stdout=out, stderr=out,
                                    stdin=subprocess.DEVNULL, start_new_session=True)

    def launch(self, log, binary, *arguments):
        """The same by launch/mpirun.sh."""
        environment = {**os.environ, "SNELL_PROGRAM": str(binary), "SNELL_MPIRUN_ARGS": self.run("arguments", self.folder)}
        with open(log, "w") as out:
            return subprocess.Popen([NET_BOX, "exec", self.folder, "hosta", ROOT / "launch/mpirun.sh", "--nodes",
                                     "hosta:1,hostb:1", "--threads", "1", "--", *map(str, arguments)], cwd=ROOT, stdout=out,
                                    stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, env=environment)

    def cut(self, host):
        self.run("cut", self.folder, host)

    def bytes(self, host):
        """Received and sent by the host's own interface."""
        received, sent = self.run("bytes", self.folder, host).split()
        return int(received), int(sent)

    def pids(self, host, program):
        """The processes of a program (its path) on a host, zombies left out."""
        found = []
        for pid in map(int, self.run("pids", self.folder, host).split()):
            try:
                if os.readlink(f"/proc/{pid}/exe") == str(program):
                    found.append(pid)
            except OSError:  # ended meanwhile, or a zombie
                pass
        return found


def make_data(binary, folder):
    """A data set of four classes, converted; the file."""
    data = pathlib.Path(folder) / "pictures.h5"
    support.write_folders(pathlib.Path(folder) / "pictures", ("a", "b", "c", "d"))
    support.Program(binary, []).run("convert", "datasets/imagefolder.yaml", pathlib.Path(folder) / "pictures", data)
    return data


def train_arguments(data, run, *more):
    """A job of 40 ms a step; without an end of its own unless `more` says so."""
    return ["train", "data=imagefolder", f"data.file={data}", f"run.dir={run}", "backbone=vit_tiny_patch16_224",
            "backbone.depth=1", "backbone.image_size=32", "backbone.weights=", "adapter=snell8", "data.batch_size=8",
            "data.workers=1", "run.log_every=1", "run.threads=1", "optim.schedule.warmup_epochs=0", "train.epochs=1000000",
            "train.eval_interval=0", "train.eval_last=0", "checkpoint.every_epochs=0", *more]


def wait_until(what, limit_s, holds):
    """Seconds until holds(); an error after limit_s."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s, f"waited {limit_s} s in vain for: {what}"
        time.sleep(0.05)
    return time.monotonic() - began
