#!/usr/bin/env bash
# Starts a multi-rank test (the arguments: mpirun -np 2 …) while it is told that it should have 4 ranks.
export SNELL_TEST_WORLD_SIZE=4
if output=$("$@" 2>&1); then
  echo "passed at the wrong size"
  exit 1
fi
echo "$output"
grep -q "started with 2 ranks, SNELL_TEST_WORLD_SIZE asks for 4" <<<"$output"
