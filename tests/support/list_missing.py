"""Lists the tests of a ctest run (its JUnit file) that did not run on this machine, each with its reason.

A test that cannot run exits with 77 and prints "CANNOT RUN (need): reason" (can_run.sh). With CI=true only tests that
need a GPU may be missing: exit 1 otherwise.

usage: list_missing.py JUNIT.xml
"""

import os
import re
import sys
import xml.etree.ElementTree as ElementTree

REASON = re.compile(r"CANNOT RUN \(([^)]*)\): (.*)")

missing = []
for case in ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
    if case.get("status") not in ("notrun", "disabled"):
        continue
    match = REASON.search(case.findtext("system-out") or "")
    need, reason = match.groups() if match else ("unknown", "it gave no reason")
    missing.append((case.get("name"), need, reason.strip()))

if missing:
    print("\nCould not run on this machine:")
    for name, _, reason in missing:
        print(f"  {name}: {reason}")
if os.environ.get("CI") == "true" and any(need != "gpu" for _, need, _ in missing):
    print("CI=true: only tests that need a GPU may be missing")
    sys.exit(1)
