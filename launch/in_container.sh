#!/usr/bin/env bash
# The program inside an Apptainer (or Singularity) image, as a program of its own: ranks are started outside, each enters
# the image. For launch/mpirun.sh and slurm/:
#   SNELL_IMAGE=snell.sif SNELL_PROGRAM=launch/in_container.sh launch/mpirun.sh -n 4 -- train experiment=quickstart/snell
# SNELL_IMAGE: the image (slurm/snell.def). SNELL_IMAGE_PROGRAM: the program in it. SNELL_CONTAINER_ARGS: further options of
# `apptainer exec`, e.g. "--bind /scratch". GPUs are shown to it where this node has some.
set -euo pipefail
for tool in apptainer singularity; do
  if command -v "$tool" >/dev/null; then break; fi
  tool=""
done
[ -n "$tool" ] || { echo "error: no apptainer or singularity on PATH of $(hostname)" >&2 && exit 2; }
[ -n "${SNELL_IMAGE:-}" ] || { echo "error: SNELL_IMAGE must name the image, e.g. snell.sif" >&2 && exit 2; }
[ -e "$SNELL_IMAGE" ] || { echo "error: SNELL_IMAGE=$SNELL_IMAGE is not there on $(hostname)" >&2 && exit 2; }
gpus=()
if [ -e /dev/nvidia0 ]; then gpus=(--nv); fi
read -ra extra <<<"${SNELL_CONTAINER_ARGS:-}"
# A rank becomes the container; a signal reaches the program itself.
exec "$tool" exec "${gpus[@]}" "${extra[@]}" "$SNELL_IMAGE" "${SNELL_IMAGE_PROGRAM:-/opt/snell/build/bin/snell}" "$@"
