"""The arrow check must find wrong arrows: each case plants one in a small tree."""

import pathlib
import sys
import tempfile

from check_arrows import check_tree

CMAKE = """
snell_add_module(core LIBS snell::glog)
snell_add_module(io DEPENDS core LIBS snell::hdf5)
snell_add_module(dist DEPENDS core TORCH)
snell_add_module(nn DEPENDS core io TORCH)
"""
CLEAN = {
    "CMakeLists.txt": CMAKE,
    "include/snell/core/error.h": "#include <string>\n",
    "include/snell/nn/vit.h": '#include <torch/types.h>\n#include "snell/core/error.h"\n#include "snell/nn/block.h"\n',
    "src/io/npz.cpp": '#include "snell/core/error.h"\n',
    "src/apps/main.cpp": '#include "snell/nn/vit.h"\n#include "snell/dist/communicator.h"\n',
}
# what is wrong -> (files that make it so, words of the sentence that names it)
CASES = {
    "arrow that is not allowed": ({"src/core/log.cpp": '#include "snell/io/npz.h"\n'}, "src/core/log.cpp:1: module core must not include io"),
    "arrow between siblings": ({"src/nn/vit.cpp": '\n# include <snell/dist/communicator.h>\n'}, "src/nn/vit.cpp:2: module nn must not include dist"),
    "LibTorch where it must not be": ({"src/io/npz.cpp": "#include <ATen/core/Tensor.h>\n"}, "src/io/npz.cpp:1: module io must not include LibTorch"),
    "forbidden arrow in the table": ({"CMakeLists.txt": CMAKE.replace("nn DEPENDS core io", "nn DEPENDS core io dist")}, "nn must never DEPEND on dist"),
    "arrow downwards": ({"CMakeLists.txt": CMAKE.replace("io DEPENDS core", "io DEPENDS core nn")}, "io DEPENDS on nn, which stands below it"),
    "LibTorch in the table": ({"CMakeLists.txt": CMAKE.replace("snell::hdf5)", "snell::hdf5 TORCH)")}, "io must do without LibTorch"),
    "folder that is no module": ({"src/extra/a.cpp": "\n"}, "extra is no module"),
}


def offences(files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder).resolve()
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return check_tree(root)


failures = 0
if offences(CLEAN):
    failures += 1
    print("a clean tree is blamed:", offences(CLEAN))
for name, (files, words) in CASES.items():
    found = offences({**CLEAN, **files})
    if len(found) != 1 or words not in found[0]:
        failures += 1
        print(f"{name}: expected one offence with '{words}', found {found}")
print(f"{len(CASES) + 1} cases, {failures} failures")
sys.exit(failures > 0)
