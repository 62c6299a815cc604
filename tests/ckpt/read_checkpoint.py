"""Reads the checkpoint that python_test.cpp wrote (make_state(12) in support.cpp) and compares its values.

Uses the safetensors and numpy packages where they are, else the standard library alone.
"""

import json
import os
import struct
import sys

folder = sys.argv[1]
with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
    manifest = json.load(file)

assert manifest["format"] == "snell-checkpoint" and manifest["version"] == 1
assert manifest["step"] == 12 and manifest["epoch"] == 1 and manifest["step_in_epoch"] == 2
assert manifest["seed"] == 0xFEDCBA9876543210 and manifest["world_size"] == 2
assert manifest["is_best"] is True and manifest["extra"]["note"] == "größer"
assert len(manifest["files"]) == 2


def read_plain(path):
    """name -> (dtype, shape, bytes), by the safetensors format."""
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = data[8 + size :]
    return {
        name: (info["dtype"], info["shape"], body[slice(*info["data_offsets"])]) for name, info in header.items()
    }


def bfloat16(data):
    return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]


def values(dtype, data):
    if dtype == "BF16":
        return bfloat16(data)
    code, size = {"F64": ("d", 8), "F32": ("f", 4), "F16": ("e", 2), "I64": ("q", 8)}[dtype]
    return list(struct.unpack(f"<{len(data) // size}{code}", data))


stored = {}
for name, record in manifest["files"].items():
    path = os.path.join(folder, name)
    assert os.path.getsize(path) == record["bytes"], name
    stored.update({tensor: (name, *entry) for tensor, entry in read_plain(path).items()})

assert set(stored) == set(manifest["tensors"])
precision = {"F64": 1e-15, "F32": 1e-7, "F16": 1e-3, "BF16": 1e-2}
for name, record in manifest["tensors"].items():
    file, dtype, shape, data = stored[name]
    assert (record["file"], record["dtype"], record["shape"]) == (file, dtype, shape), name
    for index, value in enumerate(values(dtype, data)):
        expected = (index + 12) / 3
        if dtype == "I64":
            assert value == int(expected), (name, index, value)
        else:
            assert abs(value - expected) <= precision[dtype] * expected, (name, index, value)

try:
    from safetensors.numpy import load_file
except ImportError:
    load_file = None
if load_file is not None:
    for name in manifest["files"]:
        if all(record["dtype"] != "BF16" for record in manifest["tensors"].values() if record["file"] == name):
            for tensor, array in load_file(os.path.join(folder, name)).items():
                assert array.tobytes() == stored[tensor][3], tensor

print(f"read {len(stored)} tensors from {len(manifest['files'])} files")
