"""Writes expected.json: what Hydra 1.3 and OmegaConf 2.3 make of conf/ and of the overrides below.

    pip install hydra-core==1.3.* && python tests/config/hydra/generate.py

Each case is {primary, overrides, result}; result is null where Hydra refuses.
"""
import json
import math
import os
import pathlib
import warnings

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

HERE = pathlib.Path(__file__).parent.resolve()
warnings.simplefilter("ignore")
os.environ["SNELL_TEST_SET"] = "12"
os.environ.pop("SNELL_TEST_UNSET", None)

CASES = {
    "config": [
        [], ["seed=5"], ["db=postgres"], ["adapter=snell32"], ["adapter=snell8"], ["optim=sgd"],
        ["experiment=fgvc/snell32/cub"], ["experiment=quick/pretrain"], ["experiment=nested"],
        ["experiment=nested", "adapter=klora"], ["experiment=fgvc/snell32/cub", "optim=adamw", "optim.lr=1"],
        ["experiment=fgvc/snell32/cub", "seed=4", "data=fgvc/cars"], ["optim/schedule=constant"],
        ["optim/schedule=null"], ["optim=sgd", "optim/schedule=cosine"], ["experiment=none_such"], ["db=oracle"],
        ["+server=apache"], ["+db@copy=postgres"], ["+experiment/quick=pretrain"], ["~db"], ["~db=mysql"],
        ["~db=postgres"], ["db=null"], ["db@copy=mysql"], ["local=absent"], ["++db=mysql"], ["+db=postgres"],
        ["nothing=1"], ["+nothing=1"], ["++nothing=1"], ["+seed=1"], ["++seed=1"], ["+run.threads=2"],
        ["optim.lrr=1"], ["+optim.new.deep=1"], ["~seed"], ["~optim.lr"], ["~seed=0"], ["~seed=1"], ["~nothing"],
        ["run={name: x, threads: 2}"], ["run={other: 1}"], ["+run={other: 1}"], ["++run={other: {a: 1}}"],
        ["list=[4,5]"], ["list=[]"], ["list.0=7"], ["list.9=7"], ["+list=[8]"], ["must=x"], ["must=null"],
        ["run=null"], ["optim=[sgd]"], ["optim.betas=[0.1,0.2]"], ["run.name=${seed}"], ["run.name='${seed}'"],
        ["run.name=${nothing}"], ["run.name=a${seed}b"], ["db={port: 5}"], ["+db={extra: 5}"], ["optim.lr.x=1"],
        ["seed=1", "seed=2"], ["optim.schedule.name=linear"], ["data.fgvc=1"],
    ],
    "no_self": [[]],
    "packages": [[], ["db@main=postgres"], ["db@backup.inner=mysql", "db@_global_=postgres"], ["db=postgres"],
                 ["server/db=local"], ["+server/db@x=local"]],
    "lists": [[], ["adapter=snell8"], ["db=[postgres,mysql]"], ["db=postgres"]],
    "headed": [[], ["adapter=klora"]],
    "interp": [[]],
    "scalars": [[]],
    "empty": [[]],
    "late": [[]],
    "twice": [[]],
    "nowhere": [[]],
    "mergekinds": [[]],
}
VALUES = [
    "1", "-1", "+1", "1_000", "010", "0x1F", "1.0", "1.", ".5", "-.5", "1e3", "1e-3", "1E+5", "1e", "inf", "-inf", "INF",
    "nan", ".inf", "true", "True", "tRuE", "false", "yes", "on", "off", "null", "NULL", "~", "", "''", '""', "abc",
    "a b", "' a b '", '"x"', "'it\\'s'", '"a\\"b"', "'back\\\\slash'", "'tab\\t'", "a:b", "http://x.y/z?a=b",
    "a\\=b", "a\\,b", "a,b", "[1,2]", "[ 1 , 2 ]", "[a b,c]", "[[1],[2,[3]]]", "[]", "[1,]", "[1", "1]", "{a:1}",
    "{a: 1, b: {c: [x, y]}}", "{}", "{a}", "{a:1,a:2}", "{1: x}", "['a,b',\"c\"]", "path/to-file_1.h5", "../up", "50%",
    "a@b", "a|b", "a*b", "$x", "a$b", "x(y)", "(x)", "a'b", "'open", "???", "[true,null,1.5,x]", "${a", "2024-01-01",
    "1:30", "v1.0", "1 2", " padded ", "[ ]", "a\\ b", "a\\ ", "\\[x\\]", "#hash", "a;b", "ü", "a&b", "<b>", "=b",
]


def plain(value):
    if isinstance(value, DictConfig):
        out = {}
        for key in value:
            out[str(key)] = "???" if OmegaConf.is_missing(value, key) else plain(item(value, key))
        return out
    if isinstance(value, ListConfig):
        return ["???" if OmegaConf.is_missing(value, i) else plain(item(value, i)) for i in range(len(value))]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return value


def item(container, key):
    from omegaconf.errors import InterpolationToMissingValueError
    try:
        return container[key]
    except InterpolationToMissingValueError:
        return "???"


def case(primary, overrides):
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(HERE / "conf"), version_base="1.3"):
            cfg = compose(primary, overrides)
            result = plain(cfg)
    except Exception as error:
        print(primary, overrides, "->", type(error).__name__, str(error).splitlines()[0][:150])
        result = None
    return {"primary": primary, "overrides": overrides, "result": result}


cases = [case(primary, overrides) for primary, lists in CASES.items() for overrides in lists]
cases += [case("empty", ["+x=" + value]) for value in VALUES]
(HERE / "expected.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
