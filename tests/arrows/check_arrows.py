"""Holds every #include against the arrows between modules.

One include root lets any module include any other, so the compiler does not notice a wrong arrow. The allowed ones are
the DEPENDS of snell_add_module() in CMakeLists.txt; on top of them stand rules that no DEPENDS may break.

usage: check_arrows.py ROOT      exit 1 and one line an offence
"""

import pathlib
import re
import sys

SOURCES = (".h", ".hpp", ".cpp", ".cu", ".cuh")
# data, dist and nn are told ranks and sizes as integers; peft works on one device.
NEVER = {("dist", "data"), ("dist", "nn"), ("data", "dist"), ("data", "nn"), ("nn", "dist"), ("nn", "data"), ("peft", "dist")}
WITHOUT_TORCH = {"core", "io", "config", "report", "plan"}
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
MODULE = re.compile(r"^\s*snell_add_module\s*\(([^)]*)\)", re.M)


def read_modules(cmake_lists):
    """The modules of CMakeLists.txt: name -> (allowed arrows, whether it uses LibTorch)."""
    modules = {}
    for call in MODULE.findall(cmake_lists):
        name, *words = call.split()
        depends, inside = [], False
        for word in words:
            if word in ("LIBS", "GENERATED", "TORCH"):
                inside = False
            elif word == "DEPENDS":
                inside = True
            elif inside:
                depends.append(word)
        modules[name] = (depends, "TORCH" in words)
    return modules


def check_table(modules):
    """The table itself: known names, no arrow upwards (so no cycle), none of the forbidden ones."""
    seen = set()
    for name, (depends, torch) in modules.items():
        for target in depends:
            if target not in modules:
                yield f"CMakeLists.txt: module {name} DEPENDS on {target}, which is no module"
            elif target not in seen:
                yield f"CMakeLists.txt: module {name} DEPENDS on {target}, which stands below it; arrows go upwards only"
            if (name, target) in NEVER:
                yield f"CMakeLists.txt: module {name} must never DEPEND on {target}"
        if torch and name in WITHOUT_TORCH:
            yield f"CMakeLists.txt: module {name} must do without LibTorch (TORCH)"
        seen.add(name)


def module_of(path, root):
    parts = path.relative_to(root).parts
    return parts[2] if parts[:2] == ("include", "snell") else parts[1]


def check_file(path, root, modules):
    module = module_of(path, root)
    if module == "apps":  # wires everything
        return
    where = path.relative_to(root)
    if module not in modules:
        yield f"{where}: folder {module} is no module of CMakeLists.txt"
        return
    depends, torch = modules[module]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        if TORCH.match(target) and not torch:
            yield f"{where}:{number}: module {module} must not include LibTorch ({target})"
        if not target.startswith("snell/"):
            continue
        other = target.split("/")[1]
        if other != module and other not in depends:
            allowed = ", ".join(depends) or "none"
            yield f"{where}:{number}: module {module} must not include {other} ({target}); allowed: {allowed}"


def check_tree(root):
    """All offences in the tree at `root`, as sentences."""
    modules = read_modules((root / "CMakeLists.txt").read_text(encoding="utf-8"))
    offences = list(check_table(modules))
    files = [f for top in ("include/snell", "src") for f in sorted((root / top).rglob("*")) if f.suffix in SOURCES]
    for path in files:
        offences += check_file(path, root, modules)
    if not modules or not files:
        offences.append(f"{root}: found {len(modules)} modules and {len(files)} sources; the check looked at nothing")
    return offences


if __name__ == "__main__":
    found = check_tree(pathlib.Path(sys.argv[1]).resolve())
    print("\n".join(found) or "every include follows the arrows")
    sys.exit(bool(found))
