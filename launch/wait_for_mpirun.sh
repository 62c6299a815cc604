#!/usr/bin/env bash
# wait_for_mpirun.sh COMMAND…: runs mpirun over several hosts, hands signals on to it, and ends with its exit code.
# mpirun does not end by itself while a host cannot be reached; the program's watchdog then ends it (docs/watchdog.md) and
# leaves the job's own exit code in the file that SNELL_EXIT_CODE_FILE names.
set -u
SNELL_EXIT_CODE_FILE=$(mktemp "${TMPDIR:-/tmp}/snell-exit-code.XXXXXX") || exit 1
export SNELL_EXIT_CODE_FILE
"$@" &
mpirun=$!
for name in USR1 USR2 TERM; do
  # shellcheck disable=SC2064
  trap "kill -$name $mpirun 2>/dev/null" "$name"
done
trap : INT HUP # a terminal sends these to mpirun as well, and at a second one mpirun asks nobody any more
while kill -0 $mpirun 2>/dev/null; do wait $mpirun; done # a signal ends a wait, and not what it waits for
wait $mpirun
code=$?
[ ! -s "$SNELL_EXIT_CODE_FILE" ] || read -r code <"$SNELL_EXIT_CODE_FILE"
rm -f "$SNELL_EXIT_CODE_FILE"
exit "$code"
