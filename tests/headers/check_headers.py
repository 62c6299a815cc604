"""Each public header compiles alone (and twice in a row), with the flags of the build.

Headers of modules without LibTorch are compiled without LibTorch's include folders, so that none slips in. Those with it
start from the build's precompiled header, which makes them quick. A header that a source of its module includes before
anything else was compiled alone by the build itself; of it only the guard is looked at.

usage: check_headers.py ROOT BUILD_DIR      exit 1 with the compiler's words for each header that does not
"""

import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "arrows"))
sys.dont_write_bytecode = True
from check_arrows import read_modules  # noqa: E402

# Headers that need a CUDA toolkit are compiled by the CUDA build.
CUDA_ONLY = ("_cuda.h", "_nccl.h", ".cuh")


def flags_of(build, pattern):
    """The compiler and flags with which the first source matching `pattern` was built, or None."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if pattern in entry["file"].replace(os.sep, "/"):
            words = shlex.split(entry["command"])
            break
    else:
        return None
    kept, skip = [], 0
    for word in words:
        if skip:
            skip -= 1
        elif word == "-o":
            skip = 1
        elif word != "-c" and word != entry["file"]:
            kept.append(word)
    # The compiler cache has nothing to do with a syntax check.
    while "=" in kept[0] or os.path.basename(kept[0]) in ("env", "ccache"):
        kept.pop(0)
    return kept


def proven_headers(root, build):
    """Headers that a source of their own module, part of this build, includes first."""
    proven = set()
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["file"])
        if not source.is_relative_to(root / "src") or not source.exists():
            continue
        first = next((line for line in source.read_text().splitlines() if line.startswith("#include")), "")
        name = first.removeprefix('#include "').removesuffix('"')
        if name.split("/")[:2] == ["snell", source.parent.name]:
            proven.add(name)
    return proven


def compile_alone(header, flags):
    line = f'#include "{header}"\n'
    run = subprocess.run([*flags, "-fsyntax-only", "-x", "c++", "-"], input=line + line, text=True, capture_output=True, check=False)
    return header, run.returncode, run.stderr


def main(root, build):
    modules = read_modules((root / "CMakeLists.txt").read_text())
    plain = flags_of(build, "/src/core/")
    torch = flags_of(build, "/torch_pch.cpp")
    proven = proven_headers(root, build)
    jobs, unguarded = [], []
    for path in sorted((root / "include").rglob("*.h")):
        header = path.relative_to(root / "include").as_posix()
        if header.endswith(CUDA_ONLY):
            continue
        if "\n#pragma once\n" not in path.read_text():
            unguarded.append((header, "there is no #pragma once"))
        if header not in proven:
            jobs.append((header, torch if modules[header.split("/")[1]][1] else plain))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda job: compile_alone(*job), jobs))
    failed = unguarded + [(header, words) for header, code, words in results if code]
    for header, words in failed:
        print(f"include/{header} does not compile alone:\n{words}")
    print(f"{len(results)} headers compiled, {len(proven)} by the build itself, {len(failed)} failures")
    return bool(failed) or not results or not proven


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()))
