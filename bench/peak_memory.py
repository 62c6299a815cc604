"""Runs a command and adds its exit code and its highest resident memory, in MB, as a line to a file: one a rank.

usage: bench/peak_memory.py FILE COMMAND...
"""
import fcntl
import os
import resource
import subprocess
import sys

code = subprocess.run(sys.argv[2:]).returncode
peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
rank = os.environ.get("OMPI_COMM_WORLD_RANK", "0")
with open(sys.argv[1], "a") as out:
    fcntl.flock(out, fcntl.LOCK_EX)
    out.write(f"{rank} {code} {peak_mb:.0f}\n")
sys.exit(code)
