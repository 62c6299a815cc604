# shellcheck shell=bash
# What launch/mpirun.sh tells Open MPI and NCCL unless somebody else does: chosen for the machine, printed as a table, and
# each entry gives way to the user's own. Sourced after launch/common.sh; defines names only.

is_container() {
  [ -e /.dockerenv ] || [ -e /run/.containerenv ] || [ -n "${APPTAINER_CONTAINER:-}${SINGULARITY_CONTAINER:-}${KUBERNETES_SERVICE_HOST:-}" ]
}
# InfiniBand, RoCE, Omni-Path, Slingshot: Open MPI knows better than we do how to use them.
has_fabric() { compgen -G '/sys/class/infiniband/*' >/dev/null || compgen -G '/sys/class/cxi/*' >/dev/null; }

# Interfaces that lead to no other node: loopback, and those of containers and virtual machines. The fixed names are for
# the other nodes.
useless_interfaces() {
  local path name found=lo,docker0,virbr0,cni0,podman0
  for path in /sys/class/net/*; do
    name=${path##*/}
    case "$name" in docker* | br-* | virbr* | veth* | cni* | flannel* | podman* | lxc* | tailscale*)
      [[ ",$found," == *",$name,"* ]] || found+=",$name"
      ;;
    esac
  done
  echo "$found"
}
default_interface() { ip route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1; }

# Tables: name|value|why
mpi_defaults=()
nccl_defaults=()
nccl_hints=()

# fill_mpi_defaults IS_LOCAL (1: one node)
fill_mpi_defaults() {
  local is_local=$1
  mpi_defaults=("mpi_yield_when_idle|1|a waiting rank leaves its core to others")
  # The others are names of Open MPI 4; later ones have other names and defaults of their own.
  mpirun --version 2>/dev/null | grep -q 'Open MPI) 4\.' || return 0
  if is_container; then
    mpi_defaults+=("btl_vader_single_copy_mechanism|none|containers forbid to read another process's memory")
  fi
  if ! has_fabric; then
    mpi_defaults+=("pml|ob1|no InfiniBand, RoCE, Omni-Path or Slingshot here")
    if [ "$is_local" = 1 ]; then
      mpi_defaults+=("btl|self,vader|shared memory, one node")
    else
      mpi_defaults+=("btl|self,vader,tcp|shared memory within a node, TCP across")
    fi
  fi
  if [ "$is_local" = 0 ]; then
    mpi_defaults+=("btl_tcp_if_exclude|$(useless_interfaces)|interfaces that lead to no other node"
      "oob_tcp_if_exclude|$(useless_interfaces)|the same for start-up")
  fi
}

# fill_nccl_defaults IS_LOCAL: environment for NCCL, and what may help where it picks the wrong network.
fill_nccl_defaults() {
  local is_local=$1 name
  nccl_defaults=("NCCL_DEBUG|WARN|an error says why")
  nccl_hints=()
  [ "$is_local" = 1 ] && return
  name=$(default_interface)
  nccl_hints+=("NCCL_SOCKET_IFNAME|${name:-eth0}|the interface between the nodes, if NCCL picks another")
  if has_fabric; then
    nccl_hints+=("NCCL_IB_HCA|$(cd /sys/class/infiniband 2>/dev/null && printf '%s,' * | sed 's/,$//')|the adapters to use, if some are for storage only")
  else
    nccl_hints+=("NCCL_IB_DISABLE|1|if NCCL looks for InfiniBand in vain")
  fi
}

# is_given PARAMETER: whether the user set it, in the environment or in SNELL_MPIRUN_ARGS.
is_given() {
  local name="OMPI_MCA_$1"
  [ -n "${!name:-}" ] || [[ " ${SNELL_MPIRUN_ARGS:-} " =~ [[:space:]]--?(g|prte|pmix)?mca[[:space:]]+$1[[:space:]] ]]
}
# An interface is either included or excluded.
gives_way() {
  is_given "$1" || { [[ "$1" == *_if_exclude ]] && is_given "${1/_exclude/_include}"; }
}

# Leftovers of another MPI start: a program that inherits them takes itself for a rank of that job.
leftover_variables() { compgen -e | grep -E '^(OMPI_COMM_WORLD_|OMPI_UNIVERSE_SIZE$|PMIX_|PMI_|MPI_LOCALRANKID$)' || true; }

row() { printf '[mpirun]   %-32s %-22s %s\n' "$1" "$2" "$3" >&2; }
print_defaults() {
  local entry name value why variable
  printf '[mpirun] Open MPI; another value: OMPI_MCA_NAME=VALUE, or SNELL_MPIRUN_ARGS="--mca NAME VALUE"\n' >&2
  for entry in "${mpi_defaults[@]}"; do
    IFS='|' read -r name value why <<<"$entry"
    if gives_way "$name"; then row "$name" "(yours)" "instead of $value"; else row "$name" "$value" "$why"; fi
  done
  for variable in $(compgen -e | grep '^OMPI_MCA_' || true); do
    row "${variable#OMPI_MCA_}" "${!variable}" "from the environment"
  done
  [ ${#nccl_defaults[@]} -gt 0 ] || return 0
  printf '[mpirun] NCCL; another value: export NAME=VALUE\n' >&2
  for entry in "${nccl_defaults[@]}"; do
    IFS='|' read -r name value why <<<"$entry"
    if [ "${!name:-}" = "$value" ]; then row "$name" "$value" "$why"; else row "$name" "${!name:-}" "(yours)"; fi
  done
  for entry in ${nccl_hints[@]+"${nccl_hints[@]}"}; do
    IFS='|' read -r name value why <<<"$entry"
    if [ -n "${!name:-}" ]; then row "$name" "${!name}" "(yours)"; else row "$name" "not set" "try $value: $why"; fi
  done
}
