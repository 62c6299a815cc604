#!/usr/bin/env bash
# run.sh COMMAND…: runs a test between hosts where this machine can; else says why not, and ends with 77.
"$(dirname "${BASH_SOURCE[0]}")/../support/can_run.sh" netns || exit $?
exec "$@"
