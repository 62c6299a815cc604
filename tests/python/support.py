"""What the tests of this folder share."""
import pathlib
import subprocess
import sys

try:
    import peft  # noqa: F401
    import timm
    import torch
    from safetensors.torch import load_file, save_file
except (ImportError, OSError) as error:  # OSError: a library of CUDA that torch wants is not there
    print(f"CANNOT RUN (python-tests): Python cannot load the packages: {error}")
    sys.exit(77)

CLASSES = 7
TOLERANCE = 1e-4  # of the largest logit


class Tool:
    """The program that builds this project's models."""

    def __init__(self, binary):
        self.binary = binary

    def run(self, *arguments):
        done = subprocess.run([self.binary, *map(str, arguments)], text=True, capture_output=True, timeout=200)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"


class Report:
    """A line a comparison; what is too far apart fails the test at its end."""

    def __init__(self):
        self.failed = 0

    def compare(self, what, ours, theirs, tolerance=TOLERANCE):
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        error = ((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()).item()
        good = error <= tolerance  # false for NaN
        self.failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {error:8.1e}  {what}", flush=True)

    def finish(self):
        print(f"{self.failed} failed")
        sys.exit(self.failed > 0)


def logits(model, images):
    with torch.inference_mode():
        return model.eval()(images)
