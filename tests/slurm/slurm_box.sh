#!/usr/bin/env bash
# A whole Slurm cluster of one node on this machine, in a folder of its own and beside any other Slurm or munge:
#   slurm_box.sh start DIR   starts munged, slurmctld and slurmd; afterwards SLURM_CONF=DIR/slurm.conf reaches them
#   slurm_box.sh stop DIR    ends the daemons it started (by their process ids) and removes nothing
# Needs root. The node has two CPUs, whatever the machine has.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"
[ $# -eq 2 ] || { echo "usage: slurm_box.sh start|stop DIR" >&2 && exit 2; }
action=$1
box=$2

alive() { [ -s "$box/$1.pid" ] && kill -0 "$(cat "$box/$1.pid" 2>/dev/null)" 2>/dev/null; }

give_up() {
  echo "Slurm box: $1 did not come up; last words of the logs:" >&2
  tail -n 5 "$box/slurmctld.log" "$box/slurmd.log" "$box/munge/munged.log" >&2 || true
  exit 1
}

wait_until() {
  local what=$1 try
  shift
  for ((try = 0; try < 150; try++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.2
  done
  give_up "$what"
}

start() {
  mkdir -p "$box/state" "$box/spool" "$box/tmp" "$box/munge"
  chmod 755 "$box"
  dd if=/dev/urandom of="$box/munge/key" bs=128 count=1 status=none
  chmod 600 "$box/munge/key"
  chown -R munge: "$box/munge"
  local host port
  host=$(hostname -s)
  port=$((20000 + $$ % 5000 * 2))
  cat >"$box/slurm.conf" <<END
ClusterName=box
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$box/munge/socket,cred_expire=5
StateSaveLocation=$box/state
SlurmctldPidFile=$box/slurmctld.pid
SlurmctldLogFile=$box/slurmctld.log
SlurmdPidFile=$box/slurmd.pid
SlurmdLogFile=$box/slurmd.log
SlurmdSpoolDir=$box/spool
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
SchedulerParameters=batch_sched_delay=1,sched_interval=5
MpiDefault=none
KillWait=5
ReturnToService=2
JobRequeue=1
NodeName=$host NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  runuser -u munge -- munged --socket="$box/munge/socket" --key-file="$box/munge/key" --pid-file="$box/munge/munged.pid" \
    --log-file="$box/munge/munged.log" --seed-file="$box/munge/seed"
  cp "$box/munge/munged.pid" "$box/munged.pid"
  export SLURM_CONF="$box/slurm.conf"
  slurmctld -f "$SLURM_CONF" -c || give_up slurmctld
  slurmd -f "$SLURM_CONF" -N "$host" || give_up slurmd
  wait_until slurmctld scontrol ping
  wait_until slurmd bash -c "sinfo -h -o %T | grep -qx idle"
}

stop() {
  local name try
  for name in slurmd slurmctld munged; do
    alive $name || continue
    kill "$(cat "$box/$name.pid" 2>/dev/null)" 2>/dev/null
    for ((try = 0; try < 50; try++)); do
      alive $name || break
      sleep 0.2
    done
    alive $name && kill -9 "$(cat "$box/$name.pid")" 2>/dev/null
  done
  return 0
}

case "$action" in
  start | stop) $action ;;
  *) echo "slurm_box.sh: '$action' must be start or stop" >&2 && exit 2 ;;
esac
