#!/usr/bin/env bash
# run.sh PROGRAM [ARGUMENT…]: the test where there is a GPU; else one line and 77.
"$(dirname "${BASH_SOURCE[0]}")/../support/can_run.sh" gpu || exit $?
exec "$@"
