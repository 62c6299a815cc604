"""Documentation that stays true: commands that something runs, and paths that exist.

Each command in a ```bash block of these documents must stand in readme_commands.txt with the file that runs
it; that file must exist and hold the words given. Each link and each `path` in the documents must exist in the tree,
but for what the set-up, the build and runs make.

usage: check_docs.py ROOT      exit 1 and one line an offence
"""

import pathlib
import re
import sys

COMMAND_DOCUMENTS = ("README.md", "slurm/README.md", "docs/performance.md", "docs/scaling.md", "docs/tuning.md", "docs/weights.md",
                     "bench/README.md")
MADE_LATER = (".deps", "build", "build-cuda", "data", "runs", "my_images")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]+)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"^\.?[A-Za-z][\w.-]*(/[\w.-]+)*/?$")


def commands_of(text):
    for language, block in BLOCK.findall(text):
        if language == "bash":
            for line in block.replace("\\\n", " ").splitlines():
                command = " ".join(line.split("#")[0].split())
                if command:
                    yield command


def read_registry(path):
    registry = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            command, runner = line.split(" => ")
            registry[command] = runner.split(" : ", 1)
    return registry


def check_commands(root):
    registry = read_registry(root / "tests/docs/readme_commands.txt")
    seen = set()
    for document in COMMAND_DOCUMENTS:
        for command in commands_of((root / document).read_text(encoding="utf-8")):
            seen.add(command)
            if command not in registry:
                yield f"{document}: nothing in tests/docs/readme_commands.txt says who runs '{command}'"
                continue
            name, words = registry[command]
            if not (root / name).is_file() or words not in (root / name).read_text(encoding="utf-8"):
                yield f"{document}: '{command}' should be run by {name}, which holds no '{words}'"
    for command in registry.keys() - seen:
        yield f"tests/docs/readme_commands.txt: no document holds '{command}'"


def check_paths(root):
    tops = {entry.name for entry in root.iterdir()}
    for document in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "slurm").glob("*.md"), *(root / "bench").glob("*.md")]):
        text = BLOCK.sub("", document.read_text(encoding="utf-8"))
        where = document.relative_to(root)
        for target in LINK.findall(text):
            if "://" not in target and not (document.parent / target).exists():
                yield f"{where}: link to {target}, which is not there"
        for word in CODE.findall(text):
            path = word.split()[0]
            top = path.split("/")[0]
            is_path = PATH.match(path) and "/" in path and (top in tops or path.endswith("/"))
            if is_path and top not in MADE_LATER and not (root / path).exists():
                yield f"{where}: names {path}, which is not there"


def main(root):
    offences = [*check_commands(root), *check_paths(root)]
    print("\n".join(offences) or "commands and paths of the documentation hold")
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
