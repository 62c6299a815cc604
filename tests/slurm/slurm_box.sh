#!/usr/bin/env bash
# A whole Slurm cluster on this machine, for as long as one command runs:
#   slurm_box.sh COMMAND [ARGUMENTS]
# The nodes n1 … n6 have two CPUs each, whatever the machine has, a host name and a network address of their own (a
# network and a UTS namespace a node, joined by a bridge), and the machine's file system. Partitions: main (n1 …
# n4); low, grace and high (n5 n6; jobs of high send those of the others back to the queue, of grace after a GraceTime of
# 5 s; KillWait is 15 s).
#
# COMMAND finds $SLURM_CONF, and $SNELL_BOX: a folder in memory for its files, with the daemons' logs. All of it, with
# every process and interface, is gone when COMMAND ends or this script is killed: it lives in namespaces of its own,
# whose first process the kernel takes down with it. Needs root.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"
[ $# -ge 1 ] || { echo "usage: slurm_box.sh COMMAND [ARGUMENTS]" >&2 && exit 2; }

if [ "${SNELL_BOX_INSIDE:-}" != yes ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/snell-slurm.XXXXXX")
  trap 'rmdir "$folder"' EXIT
  code=0
  SNELL_BOX_INSIDE=yes SNELL_BOX="$folder" setpriv --pdeathsig KILL \
    unshare --fork --pid --kill-child --mount-proc --net --uts --ipc "${BASH_SOURCE[0]}" "$@" &
  trap 'kill -KILL $!; exit 143' TERM INT HUP
  wait $! || code=$?
  exit $code
fi

box=$SNELL_BOX
readonly nodes=6 network=10.99.0
unset SNELL_BOX_INSIDE

give_up() {
  echo "Slurm box: $1 did not come up; last words of the logs:" >&2
  tail -n 5 "$box"/*.log >&2 || true
  exit 1
}
wait_until() {
  local what=$1 try
  shift
  for ((try = 0; try < 300; try++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  give_up "$what"
}
all_idle() { [ "$(sinfo -h -N -p main,low -t idle -o %N | wc -l)" = $nodes ]; }

mount -t tmpfs -o mode=755 none "$box"
mkdir "$box/state" "$box/munge" "$box/tmp"
hostname box
ip link set lo up
ip link add bridge type bridge
ip address add $network.254/24 dev bridge
ip link set bridge up

dd if=/dev/urandom of="$box/munge/key" bs=128 count=1 status=none
chmod 600 "$box/munge/key"
chown -R munge: "$box/munge"
cat >"$box/hosts" <<END
127.0.0.1 localhost
$network.254 box
END
cat >"$box/slurm.conf" <<END
ClusterName=box
SlurmctldHost=box($network.254)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$box/munge/socket,cred_expire=5
StateSaveLocation=$box/state
SlurmctldPidFile=$box/slurmctld.pid
SlurmctldLogFile=$box/slurmctld.log
SlurmdPidFile=$box/slurmd.%n.pid
SlurmdLogFile=$box/slurmd.%n.log
SlurmdSpoolDir=$box/spool.%n
TmpFS=$box/tmp
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_interval=2,sched_min_interval=100000,bf_interval=2
MpiDefault=none
KillWait=15
ReturnToService=2
JobRequeue=1
END
for ((node = 1; node <= nodes; node++)); do
  echo "$network.$node n$node" >>"$box/hosts"
  echo "NodeName=n$node NodeHostname=n$node NodeAddr=$network.$node CPUs=2 State=UNKNOWN" >>"$box/slurm.conf"
done
cat >>"$box/slurm.conf" <<END
PartitionName=main Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP
PartitionName=low Nodes=n[5-6] PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=grace Nodes=n[5-6] PriorityTier=1 PreemptMode=REQUEUE GraceTime=5 MaxTime=INFINITE State=UP
PartitionName=high Nodes=n[5-6] PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE State=UP
END
mount --bind "$box/hosts" /etc/hosts

runuser -u munge -- munged --socket="$box/munge/socket" --key-file="$box/munge/key" --pid-file="$box/munge/munged.pid" \
  --log-file="$box/munge/munged.log" --seed-file="$box/munge/seed"
export SLURM_CONF="$box/slurm.conf" SNELL_BOX="$box" TMPDIR="$box/tmp"
slurmctld -f "$SLURM_CONF" -c || give_up slurmctld
for ((node = 1; node <= nodes; node++)); do
  unshare --net --uts --mount bash -c 'hostname "$1" && mount -t tmpfs none "$2/tmp" && touch "$2/up.$1" &&
    until ip address show dev eth0 up 2>/dev/null | grep -q inet; do sleep 0.05; done &&
    exec slurmd -D -f "$SLURM_CONF" -N "$1"' node "n$node" "$box" >"$box/slurmd.n$node.out" 2>&1 &
  pid=$!
  disown $pid
  wait_until "node n$node" test -e "$box/up.n$node"
  ip link add "v$node" type veth peer name eth0 netns $pid
  ip link set "v$node" master bridge up
  nsenter --target $pid --net bash -c "ip link set lo up && ip address add $network.$node/24 dev eth0 && ip link set eth0 up"
done
wait_until slurmctld scontrol ping
wait_until slurmd all_idle
code=0
"$@" || code=$?
exit $code
