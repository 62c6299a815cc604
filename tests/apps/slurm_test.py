"""`snell slurm`: the script that it writes, what it refuses, hostile names, sbatch's answer.

usage: slurm_test.py SNELL
"""
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOB = ["experiment=vtab/snell32/cifar", "data.file=cifar.h5", "backbone.weights="]


class Slurm:
    def __init__(self, snell, folder):
        self.snell, self.folder = snell, folder
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("SNELL_", "SLURM"))}
        self.environment = {**keep, "SNELL_ROOT": str(ROOT)}

    def __call__(self, *arguments, expect=0, environment=None):
        done = subprocess.run([self.snell, "slurm", *arguments], cwd=self.folder, text=True, capture_output=True,
                              env={**self.environment, **(environment or {})}, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode == expect, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if expect == 0 else done.stderr


def shellcheck(script, folder):
    path = folder / "script.sh"
    path.write_text(script)
    subprocess.run(["bash", "-n", path], check=True)


def words_of_call(script, function):
    """The arguments that bash would give to snell_train or snell_sweep."""
    return shlex.split(script[script.index(f"\n{function}") + 1:].replace("\\\n", " "))[1:]


def test_golden(slurm, folder):
    script = slurm(*JOB, "run.dir=runs/it", "--nodes", "2", "--ranks-per-node", "4", "--time", "8:00:00", "--partition", "gpu")
    assert script == f"""#!/usr/bin/env bash
# Written by `snell slurm train`; slurm/README.md says what it does when.
#SBATCH --job-name=vtab-snell32-cifar
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --time=8:00:00
#SBATCH --partition=gpu
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log
set -euo pipefail
export SNELL_ROOT={ROOT}
export SNELL_PROGRAM={slurm.snell}
cd {folder}
source "$SNELL_ROOT/slurm/common.sh"
snell_train \\
  --run-dir \\
  {folder}/runs/it \\
  experiment=vtab/snell32/cifar \\
  data.file=cifar.h5 \\
  backbone.weights=
""", script


def test_options(slurm, folder):
    gpus = {"SNELL_PROGRAM": "/opt/snell"}
    script = slurm(*JOB, "--gpus-per-node", "4", "--preemptible", "--cpus-per-rank", "3", "--mem", "64G", "--account", "me",
                   "--qos", "low", environment=gpus)
    for line in ("--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=3", "--mem=64G", "--account=me", "--qos=low",
                 "--signal=B:USR1@300"):
        assert f"#SBATCH {line}\n" in script, line
    assert "export SNELL_PREEMPTIBLE=1\n" in script and "export SNELL_PROGRAM=/opt/snell\n" in script
    assert "@60\n" in slurm(*JOB, "--time", "4"), "at most a quarter of the time"
    assert "@77\n" in slurm(*JOB, "--signal-lead", "77")
    assert "--signal=B:USR1@120" in slurm(*JOB, "--time", "1-0")


def test_folder_is_stable(slurm, folder):
    def where(*overrides):
        return slurm(*JOB, *overrides, "--point", "0").splitlines()[0]
    assert where() == where(), "the same command finds its run"
    assert where("seed=1") != where("seed=2") and where("optim.lr=1e-3") != where(), "another job has another folder"
    assert where("run.dir=/x/y") == "/x/y" and where("--run-dir", "/x/{y}") == "/x/{y}"
    assert where("run.dir=/x/y", "--run-dir", "z") == f"{folder}/z"
    lines = slurm(*JOB, "--run-dir", "/a, 'b'", "--point", "0").splitlines()
    assert lines[0] == "/a, 'b'" and lines[-1] == "run.dir='/a, \\'b\\''", lines


def test_sweep(slurm, folder):
    (folder / "jobs.txt").write_text("# two jobs\noptim.lr=1e-3 run.name='a b'\n\noptim.lr=2e-3\n")
    script = slurm("sweep", *JOB, "--file", "jobs.txt", "seed=0,1", "--at-once", "2", "--run-dir", "s", "--name", "sw")
    assert "#SBATCH --array=0-3%2\n" in script and "slurm-%x-%A_%a.log" in script
    assert words_of_call(script, "snell_sweep") == ["--run-dir", f"{folder}/s", "--line",
                                                    "optim.lr=1e-3 run.name='a b'", "--line", "optim.lr=2e-3",
                                                    *JOB, "seed=0,1"]
    # The script's own words give the same points.
    points = [slurm("sweep", *words_of_call(script, "snell_sweep"), "--point", str(i)).splitlines() for i in range(4)]
    assert len({lines[0] for lines in points}) == 4
    assert points[1][0].startswith(f"{folder}/s/optim.lr=1e-3") and "run.name='a b'" in points[1] and "seed=1" in points[1]
    assert points[3][0] == f"{folder}/s/optim.lr=2e-3,seed=1" and points[3][-1] == f"run.dir='{points[3][0]}'"
    listed = slurm("sweep", *JOB, "seed=0,1,2", "--list").splitlines()
    assert len(listed) == 3 and listed[2].startswith("2  ") and "seed=2" in listed[2]
    more = slurm("sweep", *JOB, "seed=0,1,2,3", "--list").splitlines()
    assert more[:3] == listed, "one value more leaves the others' folders alone"
    assert slurm("sweep", *JOB, "seed=0,1", "--point", "0").splitlines()[0].startswith(f"{folder}/runs/sweep-")


def test_hostile(slurm, folder):
    name = "x'; touch /tmp/owned #\"$(id)`id`"
    script = slurm(*JOB, "--name", name, "--run-dir", f"runs/{name}", f"run.name={'a b'!r}")
    assert "#SBATCH --job-name=x___touch__tmp_owned_____id__id_\n" in script, script
    assert f"{folder}/runs/{name}" in words_of_call(script, "snell_train")
    shellcheck(script, folder)
    told = subprocess.run(["bash", "-c", script.split("source")[0].replace("cd ", ": ") +
                           "snell_train() { printf '%s\\n' \"$@\"; }\n" + script[script.index("snell_train"):]],
                          text=True, capture_output=True, check=True).stdout
    assert told.splitlines()[1] == f"{folder}/runs/{name}", told
    assert "control character" in slurm(*JOB, "--run-dir", "a\nb", expect=2)
    assert "may hold letters" in slurm(*JOB, "--partition", "a b", expect=2)
    assert "may hold letters" in slurm(*JOB, "--account", "x\n#SBATCH --uid=0", expect=2)


def test_refused(slurm, folder):
    for arguments, words in (
            (["optim.lrr=1"], "optim.lr"),
            (["--time", "soon"], "no time limit"),
            (["--time", "0:30"], "under a minute"),
            (["--time", "2", "--signal-lead", "120"], "not below --time"),
            (["--ranks-per-node", "65"], "less than the 65 ranks"),
            (["dist.reproducible=true", "dist.virtual_shards=8", "--ranks-per-node", "3"], "a number of ranks that divides"),
            (["run.device=cuda"], "--gpus-per-node"),
            (["--gpus-per-node", "2"], "built without CUDA"),
            (["--gpus-per-node", "2", "--ranks-per-node", "4"], "a GPU of its own"),
            (["run.device=cpu", "--gpus-per-node", "2"], "would stay idle"),
            (["dist.backend=nccl"], "without GPUs"),
            (["dist.backend=self", "--nodes", "2"], "separate models"),
            (["--file", "jobs.txt"], "belong to a sweep"),
            (["seed=0,1"], "a list is written in brackets"),
            (["--submit"], "data.file=cifar.h5 is not there")):
        error = slurm(*JOB, *arguments, expect=2)
        assert words in error and len(error.strip().splitlines()) == 1, f"{arguments}: {error}"
    for arguments, words in ((["seed=1"], "nothing to sweep"), (["seed=0,1", "optim.lr=1,x"], "optim.lr"),
                             (["run.dir=a,b"], "run.dir cannot be swept"), (["--file", "none.txt"], "is not a file"),
                             (["seed=0,1", "--point", "2"], "2 points, 0 to 1; not 2")):
        error = slurm("sweep", *JOB, *arguments, expect=2)
        assert words in error, f"{arguments}: {error}"


def test_submit(slurm, folder):
    (folder / "cifar.h5").write_text("")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    sbatch = bin_folder / "sbatch"
    path = {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    sbatch.write_text(f"#!/bin/sh\n[ \"$1\" = --parsable ] && cp \"$2\" {folder}/got && echo '4711;cluster'\n")
    sbatch.chmod(0o755)
    assert slurm(*JOB, "--submit", environment=path) == "4711\n"
    assert (folder / "got").read_text() == slurm(*JOB, "--print")
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    assert "invalid partition" in slurm(*JOB, "--submit", environment=path, expect=2)
    assert "no sbatch on PATH" in slurm(*JOB, "--submit", environment={"PATH": "/nowhere"}, expect=2)


def main(snell):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        slurm = Slurm(snell, folder)
        for test in (test_golden, test_options, test_folder_is_stable, test_sweep, test_hostile, test_refused, test_submit):
            test(slurm, folder)
            print(f"{test.__name__} passed")


if __name__ == "__main__":
    main(sys.argv[1])
