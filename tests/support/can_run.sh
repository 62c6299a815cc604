#!/usr/bin/env bash
# can_run.sh NEED…: exit 0 when this machine has what a test needs; else one line with the reason, and 77, which ctest
# counts as "did not run". launch/test.sh gathers these lines. Needs: root, slurm, netns, gpu, python-tests,
# tool:NAME.
set -u

cannot() {
  echo "CANNOT RUN ($1): $2"
  exit 77
}
have() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

need_root() { [ "$(id -u)" -eq 0 ] || cannot root "needs root, this is user $(id -un)"; }

for need in "$@"; do
  case "$need" in
    root) need_root ;;
    slurm)
      need_root
      for tool in slurmctld slurmd sbatch scontrol scancel munged; do
        have "$tool" || cannot slurm "no $tool; SNELL_SETUP_TESTS=1 launch/setup.sh installs Slurm and munge"
      done
      [ -n "$(ls /sys/fs/cgroup 2>/dev/null)" ] || cannot slurm "no cgroups are mounted on this machine, which slurmd needs"
      ;;
    netns)
      need_root
      have ip || cannot netns "no ip (iproute2); SNELL_SETUP_TESTS=1 launch/setup.sh installs it"
      unshare -n true 2>/dev/null || cannot netns "this machine allows no network namespaces"
      PATH="$PATH:/usr/sbin:/sbin" unshare -n ip link add probe type veth peer name other 2>/dev/null ||
        cannot netns "this machine's kernel has no virtual cables (veth)"
      ;;
    gpu)
      [ -e /dev/nvidia0 ] && have nvidia-smi && nvidia-smi -L 2>/dev/null | grep -q GPU || cannot gpu "no NVIDIA GPU on this machine"
      ;;
    python-tests)
      deps="${SNELL_DEPS_DIR:-$(dirname "${BASH_SOURCE[0]}")/../../.deps}"
      [ -d "$deps/python-tests/peft" ] && [ -x "$deps/venv/bin/python" ] ||
        cannot python-tests "no Python packages in $deps/python-tests; SNELL_SETUP_TESTS=1 launch/setup.sh installs them"
      ;;
    tool:*) have "${need#tool:}" || cannot "${need#tool:}" "no ${need#tool:} on this machine" ;;
    *)
      echo "can_run.sh knows no need '$need'" >&2
      exit 2
      ;;
  esac
done
exit 0
