"""usage: make_vtab.py FOLDER    a generated data set in VTAB-1k's layout: 100 classes, 100 test pictures"""
import pathlib
import sys

import support

support.write_vtab(pathlib.Path(sys.argv[1]), 100, 100)
