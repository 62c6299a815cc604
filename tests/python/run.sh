#!/usr/bin/env bash
# run.sh TEST.py ARGUMENTS…: a test of this folder with LibTorch's own Python and the packages beside it.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
"$here/../support/can_run.sh" python-tests || exit $?
deps="${SNELL_DEPS_DIR:-$here/../../.deps}"
# No look-ups in model hubs, nothing of a person's own environment, no compiled files in the source tree.
export PYTHONPATH="$deps/python-tests" PYTHONNOUSERSITE=1 PYTHONPYCACHEPREFIX="$deps/python-tests/pycache" HF_HUB_OFFLINE=1
test=$1
shift
exec "$deps/venv/bin/python" "$here/$test" "$@"
