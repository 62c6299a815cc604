"""bench/slow_wire.sh on a small model and a very slow wire: it measures both methods, and full fine-tuning pays.

usage: slow_wire_test.py PROGRAM
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

with tempfile.TemporaryDirectory(prefix="snell-slow-") as name:
    told = pathlib.Path(name) / "told.json"
    subprocess.run([ROOT / "bench/slow_wire.sh", "--program", sys.argv[1], "--json", told, "--rounds", "1", "--steps", "1",
                    "--backbone", "vit_tiny_patch16_224", "--batch", "1", "--rate", "200mbit"], check=True, timeout=200)
    result = json.loads(told.read_text())
full, snell = result["methods"]["full"], result["methods"]["snell32"]
assert (result["ranks"], result["batch_per_rank"], result["rate"]) == (2, 1, "200mbit"), result
# 22 MB at 25 MB a second, of which the backward pass hides a part.
assert full["held_s"] > 0.5 and full["held_exposed_s"] > full["unheld_exposed_s"], full
assert 0 < snell["bytes_all_reduced"] == snell["wire_bytes"] < full["bytes_all_reduced"] / 4, (snell, full)
assert snell["held_exposed_s"] < full["held_exposed_s"], (snell, full)
print("passed")
