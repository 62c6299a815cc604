"""What the whole-run tests share: generated data sets in the published layouts, and the program under mpirun."""
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]

if os.geteuid() == 0:  # as launch/common.sh does, also where these helpers serve a benchmark
    os.environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def png(width, height, pixel):
    """The bytes of an RGB PNG; pixel(x, y) gives three values."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def picture(number, label):
    """A small noisy picture whose colours tell its label."""
    draw = random.Random(number)
    base = [(label * 37) % 200, (label * 91) % 200, (label * 53) % 200]
    return png(40 + number % 5, 36 + number % 7, lambda x, y: [b + draw.randrange(56) for b in base])


def write_vtab(folder, num_classes, num_test):
    """SSF's extraction: images/ and the four lists."""
    (folder / "images").mkdir(parents=True)
    lists = {"train800": range(800), "val200": range(800, 1000), "train800val200": range(1000),
             "test": range(1000, 1000 + num_test)}
    for number in range(1000 + num_test):
        (folder / f"images/{number:05d}.png").write_bytes(picture(number, number % num_classes))
    for name, numbers in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"images/{n:05d}.png {n % num_classes}\n" for n in numbers))


def write_cub(folder, num_classes=200):
    """VPT's format: {train,val,test}.json from image path to class, images below images/."""
    number = 0
    for split, copies in (("train", 2), ("val", 1), ("test", 1)):
        table = {}
        for label in range(num_classes):
            for _ in range(copies):
                path = f"{label + 1:03d}.bird/{number:05d}.png"
                (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / "images" / path).write_bytes(picture(number, label))
                table[path] = label + 1
                number += 1
        (folder / f"{split}.json").write_text(json.dumps(table))


def write_folders(folder, classes, train=12, test=4, first=0):
    """A folder a split, in it a folder a class: so many pictures of each to train on and to judge, from number `first`."""
    number = first
    for split, copies in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for _ in range(copies):
                (folder / split / name / f"{number}.png").write_bytes(picture(number, label))
                number += 1


class Program:
    def __init__(self, binary, mpirun):
        self.binary, self.mpirun = binary, mpirun

    def run(self, *arguments, ranks=None, environment=None, expect=0, timeout=300):
        command = [self.binary, *map(str, arguments)]
        if ranks is not None:
            command = [*self.mpirun, "-np", str(ranks), *command]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=timeout,
                              env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL)
        assert done.returncode == expect, (
            f"{' '.join(command)}\nexit code {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
        return done

    def kill_at_step(self, step, metrics, *arguments, ranks):
        """Starts a run and kills every rank with SIGKILL once metrics.jsonl has that step; the last step it wrote."""
        log = open(metrics.parent.parent / "killed.log", "w")
        process = subprocess.Popen([*self.mpirun, "-np", str(ranks), self.binary, *map(str, arguments)], cwd=ROOT,
                                   stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        limit = time.monotonic() + 120
        while last_step(metrics) < step:
            assert process.poll() is None and time.monotonic() < limit, f"no step {step} in {metrics}: see {log.name}"
            time.sleep(0.005)
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True, capture_output=True).stdout
        for pid in children.split():
            os.kill(int(pid), signal.SIGKILL)
        process.wait(timeout=60)
        return last_step(metrics)


def events(metrics, kind):
    if not metrics.exists():
        return []
    found = []
    for line in metrics.read_text().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:  # torn by the kill
            continue
        if event["event"] == kind:
            found.append(event)
    return found


def last_step(metrics):
    steps = events(metrics, "step")
    return steps[-1]["step"] if steps else 0


def newest_manifest(run):
    folders = sorted((run / "checkpoints").glob("step-??????????"))
    return json.loads((folders[-1] / "manifest.json").read_text())


def tensor_hashes(run):
    return {name: record["xxh3_128"] for name, record in newest_manifest(run)["tensors"].items()}
