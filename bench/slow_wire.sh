#!/usr/bin/env bash
# What a step costs when the wire between two hosts is slow: two ranks train on two hosts of this machine (network
# namespaces), whose cables are held to RATE and let go by turns, a few steps each. SNELL-32 and full fine-tuning of the
# same model; medians, and the ratio of held to unheld steps, pair by pair.
#   bench/slow_wire.sh [--json FILE] [--rounds N] [--steps N] [--rate RATE] [--backbone NAME] [--batch N] [--program PATH]
# Needs root and network namespaces (exit code 77 where there are none), two cores, and a quiet machine.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
"$SNELL_ROOT/tests/support/can_run.sh" netns tool:tc || exit $?
cd "$SNELL_ROOT"
exec "$(command -v python3)" -B bench/slow_wire.py "$@"
