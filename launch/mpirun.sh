#!/usr/bin/env bash
# Starts the program under mpirun with settings that fit the machine, and prints them.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$SNELL_ROOT/launch/mpi_defaults.sh"

usage() {
  cat <<'END'
usage: launch/mpirun.sh [-n RANKS] [--nodes HOST:SLOTS,...] [--gpus 0,1,...] [--bind core|numa|none] [--threads N]
                        [--quiet] [--print | --check] -- SUBCOMMAND [ARGUMENTS]

  launch/mpirun.sh -n 2 -- train experiment=quickstart/snell
  launch/mpirun.sh --gpus 0,1,2,3 -- train experiment=fgvc/snell32/cub
  launch/mpirun.sh --nodes node1:4,node2:4 -- train experiment=vtab/snell32/cifar

  -n, --ranks N   ranks in all (default: the slots of --nodes, the number of --gpus, a Slurm job's tasks, or 1)
  --nodes LIST    hosts with their slots; without it all ranks run here, or on the hosts of a Slurm job
  --gpus LIST     the GPUs to use on every node, one a rank
  --bind WHAT     core: every rank gets its own cores; numa; none: the kernel decides
                  (default: core inside a Slurm job with a core a rank, else none, as two runs on one machine
                  would otherwise share the same cores)
  --threads N     threads a rank (default: OMP_NUM_THREADS, or cores / ranks)
  --quiet         does not print the settings
  --print         prints the command and runs nothing
  --check         looks at every node (program, its version, shared memory, limits, names, GPUs) and runs nothing else;
                  before a run this is done by itself, on one node without starting the program. SNELL_CHECK=0: not

What it tells Open MPI and NCCL is printed as a table; OMPI_MCA_… and NCCL_… in the environment have precedence.
Environment: SNELL_PROGRAM names another program (default: build-cuda/bin/snell with --gpus, else build/bin/snell);
SNELL_MPIRUN_ARGS is put last among mpirun's own arguments and so has the last word.
USR1 and USR2 sent to this script reach every rank. Its exit code is the program's (docs/exit-codes.md).
END
}

ranks="" nodes="" gpus="" bind="" threads="${OMP_NUM_THREADS:-}" only_print=0 only_check=0 quiet=0
value_of() { [ $# -ge 2 ] && [ "$2" != -- ] || die 2 "$1 needs a value; see launch/mpirun.sh --help"; }
while [ $# -gt 0 ]; do
  case "$1" in
    -n | -np | --ranks) value_of "$@" && ranks=$2 && shift ;;
    --nodes) value_of "$@" && nodes=$2 && shift ;;
    --gpus) value_of "$@" && gpus=$2 && shift ;;
    --bind) value_of "$@" && bind=$2 && shift ;;
    --threads) value_of "$@" && threads=$2 && shift ;;
    --print) only_print=1 ;;
    --check) only_check=1 ;;
    --quiet) quiet=1 ;;
    -h | --help) usage && exit 0 ;;
    --) shift && break ;;
    -*) die 2 "launch/mpirun.sh knows no option '$1'; the program's own arguments come after '--'" ;;
    *) die 2 "'$1' stands before '--'; write: launch/mpirun.sh -n 2 -- $*" ;;
  esac
  shift
done
[ $# -gt 0 ] || [ $only_check = 1 ] || die 2 "nothing to run; write a subcommand after '--', e.g. launch/mpirun.sh -n 2 -- train experiment=quickstart/snell"

# --- how many ranks, where ------------------------------------------------------------------------------------------
is_local=1
slots=""
if [ -n "$nodes" ]; then
  [[ "$nodes" =~ ^[A-Za-z0-9._-]+(:[1-9][0-9]{0,3})?(,[A-Za-z0-9._-]+(:[1-9][0-9]{0,3})?)*$ ]] ||
    die 2 "--nodes '$nodes' must be HOST:SLOTS, with ',' between hosts, e.g. node1:4,node2:4"
  slots=0
  num_nodes=0
  IFS=, read -ra hosts <<<"$nodes"
  for host in "${hosts[@]}"; do
    num_nodes=$((num_nodes + 1))
    if [[ "$host" == *:* ]]; then slots=$((slots + ${host##*:})); else slots=$((slots + 1)); fi
  done
  is_local=0
else
  num_nodes=${SLURM_JOB_NUM_NODES:-1}
  [ "$num_nodes" -gt 1 ] && is_local=0
fi
if [ -n "$gpus" ]; then
  [[ "$gpus" =~ ^[0-9]{1,3}(,[0-9]{1,3})*$ ]] || die 2 "--gpus '$gpus' must list device numbers, e.g. 0,1,2,3"
  num_gpus=$(tr ',' '\n' <<<"$gpus" | sort -u | wc -l)
  [ "$num_gpus" = "$(tr ',' '\n' <<<"$gpus" | wc -l)" ] || die 2 "--gpus '$gpus' names a device twice"
fi
: "${ranks:=${slots:-${num_gpus:+$((num_gpus * num_nodes))}}}"
: "${ranks:=${SLURM_NTASKS:-1}}"
is_whole_number "$ranks" || die 2 "the number of ranks is '$ranks'; it must be a whole number, at least 1"
[ -z "$slots" ] || [ "$ranks" -le "$slots" ] ||
  die 2 "$ranks ranks do not fit into the $slots slots of --nodes '$nodes'; give the hosts more slots, e.g. node1:$ranks"
ranks_per_node=$(((ranks + num_nodes - 1) / num_nodes))
[ -z "$gpus" ] || [ "$ranks_per_node" -le "$num_gpus" ] ||
  die 2 "$ranks_per_node ranks a node and $num_gpus GPUs (--gpus '$gpus'): a rank needs a GPU of its own; lower -n or name more GPUs"

# --- threads, binding -----------------------------------------------------------------------------------------------
cores=$(usable_cores)
if [ -z "$threads" ]; then
  threads=$((cores / ranks_per_node))
  [ "$threads" -ge 1 ] || threads=1
fi
is_whole_number "$threads" || die 2 "--threads (or OMP_NUM_THREADS) is '$threads'; it must be a whole number, at least 1"
if [ -z "$bind" ]; then
  bind=none
  [ -n "${SLURM_JOB_ID:-}" ] && [ "$ranks_per_node" -le "$cores" ] && bind=core
fi
placement=()
case "$bind" in
  core) placement=(--map-by "slot:PE=$threads" --bind-to core) ;;
  numa | none) placement=(--bind-to "$bind") ;;
  *) die 2 "--bind '$bind' must be core, numa or none" ;;
esac
if [ $is_local = 1 ] && [ "$bind" != core ]; then
  placement+=(--oversubscribe) # Open MPI may count fewer slots than there are cores for us, and more ranks are allowed
elif [ $is_local = 1 ] && [ "$ranks" -gt "$cores" ]; then
  die 2 "$ranks ranks on $cores cores cannot have cores of their own; use --bind none or fewer ranks"
fi

# --- program, environment -------------------------------------------------------------------------------------------
program=${SNELL_PROGRAM:-}
if [ -z "$program" ]; then
  program="$SNELL_ROOT/build/bin/snell"
  preset=cpu-release
  if [ -n "$gpus" ]; then
    program="$SNELL_ROOT/build-cuda/bin/snell"
    preset=cuda-release
  fi
  [ -x "$program" ] || [ $only_print = 1 ] ||
    die 2 "$program is not built; run: launch/setup.sh && .deps/venv/bin/cmake --preset $preset && .deps/venv/bin/cmake --build --preset $preset"
elif ! command -v "$program" >/dev/null; then
  die 2 "SNELL_PROGRAM=$program is not a program that can be run"
fi
command -v mpirun >/dev/null || die 2 "no mpirun on PATH; run launch/setup.sh, or load an Open MPI module"
allow_mpi_as_root
export OMP_NUM_THREADS=$threads
[ -z "$gpus" ] || export CUDA_VISIBLE_DEVICES=$gpus

for name in $(leftover_variables); do
  [ $quiet = 1 ] || [ -n "${warned:-}" ] || warn "$name and the like are left over from another MPI start; they are taken out of the environment"
  warned=1
  unset "$name"
done
fill_mpi_defaults $is_local
num_gpus_here=0
if [ -n "$gpus" ]; then num_gpus_here=$ranks_per_node; fi
if [ -n "$gpus${SLURM_GPUS_ON_NODE:-}" ]; then
  fill_nccl_defaults $is_local
  for entry in "${nccl_defaults[@]}"; do
    IFS='|' read -r name value _ <<<"$entry"
    [ -n "${!name:-}" ] || export "$name=$value"
  done
fi

# --- the command ----------------------------------------------------------------------------------------------------
settings=()
for entry in "${mpi_defaults[@]}"; do
  IFS='|' read -r name value _ <<<"$entry"
  gives_way "$name" || settings+=(--mca "$name" "$value")
done
hosts_and_variables=()
if [ $is_local = 0 ]; then
  [ -z "$nodes" ] || hosts_and_variables+=(--host "$nodes")
  # mpirun hands only OMPI_MCA_… on to other nodes by itself.
  for name in $(compgen -e | grep -E '^(OMP_|KMP_|CUDA_(VISIBLE|DEVICE|LAUNCH)_|NCCL_|SNELL_|GLOG_|LD_LIBRARY_PATH$)'); do
    [[ -z "${!name:-}" || "$name" =~ ^SNELL_(DEPS_DIR|PROGRAM|MPIRUN_ARGS|CHECK)$ ]] || hosts_and_variables+=(-x "$name")
  done
fi
read -ra extra <<<"${SNELL_MPIRUN_ARGS:-}"
command=(mpirun -n "$ranks" "${settings[@]}" "${placement[@]}" "${hosts_and_variables[@]}" "${extra[@]}" "$program" "$@")

if [ $quiet = 0 ] || [ $only_print = 1 ]; then
  printf '[mpirun] %s ranks on %s node(s), %s thread(s) each, %s usable cores here, bind %s%s%s%s\n' \
    "$ranks" "$num_nodes" "$threads" "$cores" "$bind" "${gpus:+, GPU of local rank 0, 1, ...: $gpus}" \
    "$(is_root && echo ', as root' || true)" "$(is_container && echo ', in a container' || true)" >&2
  print_defaults
  {
    printf '[mpirun]'
    printf ' %q' "${command[@]}"
    printf '\n'
  } >&2
fi
[ $only_print = 0 ] || exit 0

# --- the nodes ------------------------------------------------------------------------------------------------------
# Prints what launch/check_node.sh finds; ends the script where a rank could not start or ranks would run different
# programs.
check_nodes() {
  local found code=0 kind host text failed=0 versions
  if [ $is_local = 1 ]; then
    local asked=$program
    [ $only_check = 1 ] || asked=""
    found=$("$SNELL_ROOT/launch/check_node.sh" "$ranks_per_node" $num_gpus_here "$asked")
  else
    for host in ${hosts[@]+"${hosts[@]%%:*}"}; do
      getent hosts "$host" >/dev/null || warn "the name $host (--nodes) does not resolve here"
    done
    found=$(mpirun -n "$num_nodes" --map-by ppr:1:node "${settings[@]}" "${hosts_and_variables[@]}" "${extra[@]}" \
      "$SNELL_ROOT/launch/check_node.sh" "$ranks_per_node" $num_gpus_here "$program" </dev/null) || code=$?
    [ $code = 0 ] || die 2 "mpirun could not start launch/check_node.sh on every node (exit code $code); its words stand above"
  fi
  while IFS=$'\t' read -r _ host kind text; do
    case "$kind" in
      version) [ $quiet = 1 ] || printf '[mpirun] node %s: %s\n' "$host" "$text" >&2 ;;
      warn) warn "node $host: $text" ;;
      fail)
        printf 'error: node %s: %s\n' "$host" "$text" >&2
        failed=1
        ;;
    esac
  done < <(grep -P '^node\t' <<<"$found" | sort)
  [ $failed = 0 ] || exit 2
  versions=$(awk -F'\t' '$1 == "node" && $3 == "version" {print $4}' <<<"$found" | sort -u | wc -l)
  [ "$versions" -le 1 ] || die 2 "the nodes run different programs (see above); build them from the same sources, or share one folder"
}
[ "${SNELL_CHECK:-1}" = 0 ] && [ $only_check = 0 ] || check_nodes
[ $only_check = 0 ] || exit 0
[ $is_local = 1 ] || exec "$SNELL_ROOT/launch/wait_for_mpirun.sh" "${command[@]}"
exec "${command[@]}"
