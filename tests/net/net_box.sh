#!/usr/bin/env bash
# Several "hosts" on this machine: network namespaces with host names of their own, cabled to a switch (a bridge in a
# namespace of its own), on a private subnet that nothing outside sees. Files, users and processes are shared.
#
#   net_box.sh start DIR [--hosts N] [--slots S] [--rate RATE]
#       N hosts (default 2) called hosta, hostb, ... with addresses 10.77.0.1, .2, ...; S ranks go on each (default 1);
#       RATE (as tc writes it: 1gbit, 100mbit) holds every cable, in both directions
#   net_box.sh mpirun DIR ARGUMENTS…       mpirun on hosta, over all hosts: S ranks on hosta, the next S on hostb, ...
#   net_box.sh arguments DIR               the way to the hosts, as arguments of mpirun (for SNELL_MPIRUN_ARGS)
#   net_box.sh exec DIR HOST COMMAND…      a command on one host
#   net_box.sh cut DIR HOST                pulls the host's cable: packets vanish, and no side is told
#   net_box.sh mend DIR HOST               plugs it in again
#   net_box.sh bytes DIR HOST              what the host's own interface counts: bytes received, bytes sent
#   net_box.sh pids DIR HOST               the host's processes
#   net_box.sh stop DIR                    ends every process on the hosts (SIGKILL) and the hosts with them
#
# A namespace lives as long as the process that holds it (two hours at most), so nothing has to be removed by name. A script
# starts a box as
#   trap '"$net_box" stop "$box"' EXIT; "$net_box" start "$box"
# Needs root, iproute2 and network namespaces: tests/support/can_run.sh netns.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"
me=$(realpath "${BASH_SOURCE[0]}")

usage() {
  sed -n '5,16s/^# \{0,1\}//p' "$me" >&2
  exit 2
}
give_up() {
  echo "net box: $*" >&2
  exit 2
}

[ $# -ge 2 ] || usage
verb=$1
box=$2
shift 2

# on HOST COMMAND…: HOST may also be "switch".
on() {
  local host=$1
  shift
  [ -s "$box/$host.pid" ] || give_up "$box has no host '$host'"
  nsenter -t "$(cat "$box/$host.pid")" -n -u "$@"
}
hosts() { cat "$box/hosts" 2>/dev/null || true; }

# The processes in a host's network, its holder included.
pids_of() {
  local holder namespace
  holder=$(cat "$box/$1.pid" 2>/dev/null) || return 0
  namespace=$(readlink "/proc/$holder/ns/net") || return 0
  [ "$namespace" != "$(readlink /proc/self/ns/net)" ] || return 0 # the holder is gone, its number is another's now
  find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%l/%h\n' 2>/dev/null | awk -F/ -v namespace="$namespace" '$1 == namespace { print $4 }'
}

# open_host NAME: a process that holds a network and a host name. It closes every descriptor, or a caller that reads
# this script's output would wait for it.
open_host() {
  setsid unshare -n -u sleep 7200 </dev/null >/dev/null 2>&1 &
  echo $! >"$box/$1.pid"
  disown
  local try
  for ((try = 0; try < 100; try++)); do
    [ "$(readlink "/proc/$!/ns/net")" = "$(readlink /proc/self/ns/net)" ] || break
    sleep 0.02
  done
  on "$1" hostname "$1"
  on "$1" ip link set lo up
}

# hold HOST DEVICE RATE. The bucket takes one 64 KB segment and little more, so that short sends are held too.
hold() { [ -z "$3" ] || on "$1" tc qdisc add dev "$2" root tbf rate "$3" burst 96kb latency 100ms; }

start() {
  local num_hosts=2 slots=1 rate=""
  while [ $# -gt 0 ]; do
    case "$1" in
      --hosts) num_hosts=$2 && shift 2 ;;
      --slots) slots=$2 && shift 2 ;;
      --rate) rate=$2 && shift 2 ;;
      *) give_up "start knows no '$1'" ;;
    esac
  done
  mkdir -p "$box"
  trap stop EXIT # until all is up
  echo "$slots" >"$box/slots"
  : >"$box/hosts"
  open_host switch
  on switch ip link add br0 type bridge
  on switch ip link set br0 up
  local i name
  for ((i = 1; i <= num_hosts; i++)); do
    name="host$(printf '%b' "\\$(printf '%03o' $((96 + i)))")"
    open_host "$name"
    echo "$name" >>"$box/hosts"
    on switch ip link add "to-$name" type veth peer name eth0 netns "$(cat "$box/$name.pid")"
    on switch ip link set "to-$name" master br0 up
    on "$name" ip address add "10.77.0.$i/24" dev eth0
    on "$name" ip link set eth0 up
    hold "$name" eth0 "$rate"
    hold switch "to-$name" "$rate"
  done
  # mpirun's way to another host, in place of ssh: agent HOST "command line".
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nhost=$1\nshift\nexec "%s" exec "%s" "$host" /bin/sh -c "$*"\n' "$me" "$(realpath "$box")" >"$box/agent"
  chmod +x "$box/agent"
  for ((i = 2; i <= num_hosts; i++)); do wait_for_route "10.77.0.$i"; done
  trap - EXIT
}

# Until hosta reaches the address: a refused connection is an answer.
wait_for_route() {
  local try answer
  for ((try = 0; try < 50; try++)); do
    answer=$(LC_ALL=C on hosta bash -c "exec 3<>/dev/tcp/$1/9" 2>&1 || true)
    [[ "$answer" != *refused* ]] || return 0
    sleep 0.1
  done
  give_up "hosta does not reach $1"
}

stop() {
  local name pid
  for name in $(hosts) switch; do
    for pid in $(pids_of "$name"); do
      [ "$pid" = "$(cat "$box/$name.pid")" ] || kill -9 "$pid" 2>/dev/null || true
    done
    kill -9 "$(cat "$box/$name.pid" 2>/dev/null || true)" 2>/dev/null || true
    rm -f "$box/$name.pid"
  done
}

print_arguments() {
  echo --mca plm_rsh_agent "$(realpath "$box")/agent" --mca orte_keep_fqdn_hostnames 1 --mca pml ob1 --mca btl tcp,self \
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24
}

run_mpi() {
  local slots list arguments
  read -ra arguments <<<"$(print_arguments)"
  slots=$(cat "$box/slots")
  list=$(hosts | sed "s/\$/:$slots/" | paste -sd,)
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  exec nsenter -t "$(cat "$box/hosta.pid")" -n -u mpirun --host "$list" --map-by slot --bind-to none \
    --mca mpi_yield_when_idle 1 "${arguments[@]}" "$@"
}

case "$verb" in
  start) start "$@" ;;
  stop) stop ;;
  mpirun) run_mpi "$@" ;;
  arguments) print_arguments ;;
  exec)
    [ $# -ge 2 ] || usage
    host=$1
    shift
    [ -s "$box/$host.pid" ] || give_up "$box has no host '$host'"
    exec nsenter -t "$(cat "$box/$host.pid")" -n -u "$@"
    ;;
  cut) on switch ip link set "to-$1" down ;;
  mend) on switch ip link set "to-$1" up ;;
  bytes) on "$1" ip -s -j link show eth0 | sed 's/.*"rx":{"bytes":\([0-9]*\).*"tx":{"bytes":\([0-9]*\).*/\1 \2/' ;;
  pids) pids_of "$1" | grep -vx "$(cat "$box/$1.pid")" || true ;;
  *) usage ;;
esac
