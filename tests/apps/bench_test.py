"""`snell bench` on tiny models: fields and their consistency, bad arguments, a row's process that dies.

usage: bench_test.py PROGRAM
"""
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

TINY = ["backbone=vit_tiny_patch16_224", "backbone.image_size=32", "backbone.depth=2", "data.batch_size=2", "run.device=cpu"]
FEATURES, TOKENS_TRAINED = 192, 1
BINARY = sys.argv[1]


def run(*arguments, expect=0):
    done = subprocess.run([BINARY, "bench", *arguments], text=True, capture_output=True, timeout=200, stdin=subprocess.DEVNULL)
    assert done.returncode == expect, f"{arguments}\nexit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}"
    return done


def close(a, b):
    return abs(a - b) <= 1e-9 * abs(b)


def check_step():
    told = json.loads(run("step", "classes=5", "rounds=3", "--json", *TINY).stdout)
    assert told["batch"] == 2 and told["threads"] == 1 and told["dtype"] == "float32" and told["device"] == "cpu", told
    assert told["rounds"] == 3 and told["warmup"] == 1 and told["backbone"] == "vit_tiny_patch16_224", told
    rows = {row["row"]: row for row in told["rows"]}
    assert {"full", "frozen", "snell", "snell_recipe", "lora", "lora_recipe"} <= set(rows), rows.keys()
    full, frozen = rows["full"], rows["frozen"]
    for name, row in rows.items():
        assert len(row["seconds"]) == 3 and all(s > 0 for s in row["seconds"]), row
        assert row["seconds_median"] == statistics.median(row["seconds"]) and row["seconds_min"] == min(row["seconds"]), row
        for key, to in (("time_to_full", full), ("time_to_frozen", frozen)):
            assert close(row[key], statistics.median(a / b for a, b in zip(row["seconds"], to["seconds"]))), row
        assert row["model_bytes"] > row["parameters"] * 4 and row["peak_bytes_above_model"] > 0, row
        assert close(row["memory_to_full"], row["peak_bytes_above_model"] / full["peak_bytes_above_model"]), row
    assert full["trainable"] == full["parameters"], full
    head_and_token = 5 * FEATURES + 5 + TOKENS_TRAINED * FEATURES
    assert frozen["trainable"] == head_and_token and frozen["parameters"] == full["parameters"], frozen
    # Two factors of rank 32 for each of q, k, v, proj, fc1 and fc2 of both blocks.
    factors = 2 * 32 * (4 * 2 * FEATURES + 2 * 5 * FEATURES)
    for name in ("snell", "snell_recipe", "lora", "lora_recipe"):
        assert rows[name]["trainable"] == head_and_token + factors, rows[name]


def check_choices():
    """Rows by name, the config of all of them, and the table for people."""
    told = json.loads(run("step", "rows=lora", "rounds=1", "--json", *TINY, "adapter.rank=8", "run.dtype=bfloat16").stdout)
    (row,) = told["rows"]
    assert row["row"] == "lora" and row["time_to_full"] is None and row["memory_to_full"] is None, row
    assert told["dtype"] == "bfloat16" and told["classes"] == 1000, told
    text = run("step", "rows=frozen,full", "rounds=1", *TINY)
    assert "time, x frozen" in text.stdout and "batch 2, float32 on cpu, 1 thread; 1 round after 1 to warm up" in text.stdout, text.stdout
    assert "round 1 of 1: frozen" in text.stderr, text.stderr


def check_bad_arguments():
    for arguments, words in ((["step", "rows=ful"], "Did you mean 'full'"),
                             (["step", "rows="], "rows"),
                             (["step", "rounds=0"], "rounds"),
                             (["step", "backbone.dept=2"], "depth"),
                             (["step", "adapter=lora"], "rows="),
                             (["step", "--row", "none"], "no row"),
                             (["layer", "inn=4"], "in"),
                             (["layer", "rank=7"], "heads"),
                             (["layer", "in"], "in"),
                             (["layer", "~in"], "key=value"),
                             (["growth", "sizes=768x"], "768x3072"),
                             (["growth", "sizes=768"], "768x3072"),
                             (["nothing"], "subcommand"),
                             ([], "subcommand")):
        said = run(*arguments, expect=2).stderr
        assert words in said and "Traceback" not in said, (arguments, said)


def children_of(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def check_deaths():
    # It ends by itself: weights that are not there.
    missing = run("step", "rows=frozen", *TINY, "backbone.weights=/nonexistent.safetensors", expect=4).stderr
    assert "row 'frozen' ended with exit code 4 while its model was made" in missing and "/nonexistent" in missing, missing
    # Somebody ends it in the middle; nothing is left behind.
    process = subprocess.Popen([BINARY, "bench", "step", "rows=frozen,full", "rounds=100000", *TINY], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    for line in process.stderr:
        if line.startswith("round 1 "):
            break
    first, second = children_of(process.pid)
    os.kill(second, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "row 'full' was ended by signal 9" in said, (process.returncode, said)
    assert not pathlib.Path(f"/proc/{first}").exists(), "the other row's process is still there"


def check_orphans():
    """Rows end by themselves when the program that asks them is gone."""
    process = subprocess.Popen([BINARY, "bench", "step", "rows=frozen", "rounds=100000", *TINY], text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    process.stderr.readline()
    (row,) = children_of(process.pid)
    process.kill()
    process.wait()
    process.stderr.close()
    for _ in range(300):
        stat = pathlib.Path(f"/proc/{row}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    os.kill(row, signal.SIGKILL)
    raise AssertionError("the row's process outlives the program")


def check_layer():
    told = json.loads(run("layer", "in=24", "out=40", "rank=8", "repeats=3", "threads=1", "device=cpu", "--json").stdout)
    (layer,) = told["layers"]
    assert layer["entries"] == 24 * 40 and told["threads"] == 1 and told["sparsity"] == 0.9, told
    for part in ("forward", "backward"):
        assert 0 < layer[f"{part}_seconds_min"] <= layer[f"{part}_seconds"], layer
        assert close(layer[f"{part}_ns_per_entry"], layer[f"{part}_seconds"] * 1e9 / layer["entries"]), layer
    assert layer["peak_bytes"] >= 0, layer
    for settings in (["adapter=snella"], ["adapter=klora", "norm_p=1"], ["adapter=mixk", "dtype=float64"],
                     ["sparsifier=soft_threshold", "dtype=bfloat16"]):
        run("layer", "in=24", "out=40", "rank=8", "repeats=1", *settings)
    assert "backward with rebuild, ms" in run("layer", "in=8", "out=8", "repeats=1").stdout


def check_growth():
    with tempfile.TemporaryDirectory(prefix="snell-bench-") as name:
        picture = pathlib.Path(name) / "growth.svg"
        told = json.loads(run("growth", "sizes=16x16,16x64,32x128", "repeats=2", "--svg", str(picture), "--json").stdout)
        assert [layer["entries"] for layer in told["layers"]] == [256, 1024, 4096], told
        root = xml.parse(picture).getroot()
        svg = "{http://www.w3.org/2000/svg}"
        assert root.tag == svg + "svg" and len(root.findall(f".//{svg}circle")) == 6, picture.read_text()
        assert "million entries" in picture.read_text()


def check_chain():
    told = json.loads(run("chain", "rounds=2", "classes=5", "--json", *TINY[:-2], "data.batch_size=8").stdout)
    assert told["virtual_shards"] == 8 and told["rounds"] == 2 and told["gradient_bytes"] > 0, told
    parts = [told[f"{part}_seconds"] for part in ("shard_hashes", "sum_hash", "record")]
    assert all(0 < part < told["step_seconds"] for part in parts), told
    assert 0 < told["share_on_one_rank"] < told["share_on_a_rank_a_shard"], told
    assert "chain on one rank" in run("chain", "rounds=1", *TINY[:-2], "data.batch_size=8").stdout
    run("chain", "dist.reproducible=false", expect=2)


def check_help():
    for command in ("step", "layer", "growth", "chain"):
        said = run(command, "--help").stdout
        assert f"snell bench {command} " in said and "Settings:" in said, said


for check in (check_help, check_bad_arguments, check_step, check_choices, check_deaths, check_orphans, check_layer, check_growth, check_chain):
    check()
    print(check.__name__, "passed", flush=True)
