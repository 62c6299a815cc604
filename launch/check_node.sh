#!/usr/bin/env bash
# Whether ranks can run on this node; launch/mpirun.sh starts it once on each.
#   check_node.sh RANKS GPUS [PROGRAM]     RANKS and GPUS: on this node; PROGRAM is asked for its version
# Prints one line a finding, with tabs: node HOST KIND TEXT, where KIND is version, warn or fail. Always ends with 0, so
# that every node is heard.
set -uo pipefail
ranks=$1 gpus=$2 program=${3:-}
host=$(hostname)
# In one write, or the lines of several nodes come out mixed.
say() { printf 'node\t%s\t%s\t%s\n' "$host" "$1" "$2"; }

if [ -n "$program" ]; then
  if version=$("$program" --version 2>&1); then
    say version "$(tail -n 1 <<<"$version")"
  else
    say fail "$program does not start: $(tail -n 1 <<<"$version")"
  fi
fi

# Shared memory between ranks: Open MPI takes some 4 MB a rank, NCCL far more.
needed=$((16 * ranks))
[ "$gpus" = 0 ] || needed=$((needed + 512))
free=$(df --output=avail -BM /dev/shm 2>/dev/null | tail -n 1 | tr -dc '0-9')
if [ -z "$free" ]; then
  say warn "no /dev/shm: ranks of a node cannot share memory"
elif [ "$free" -lt $needed ]; then
  say warn "/dev/shm has $free MB free, $needed are wanted; in Docker: --shm-size=1g or --ipc=host"
fi

files=$(ulimit -n)
[ "$files" = unlimited ] || [ "$files" -ge 1024 ] || say warn "only $files open files a process are allowed (ulimit -n); 1024 are wanted"
locked=$(ulimit -l)
if compgen -G '/sys/class/infiniband/*' >/dev/null && [ "$locked" != unlimited ]; then
  say warn "only $locked kB of locked memory are allowed (ulimit -l); InfiniBand wants unlimited"
fi
size=$(ulimit -f)
[ "$size" = unlimited ] || say warn "files may not grow beyond $size kB (ulimit -f); checkpoints may not fit"

getent hosts "$host" >/dev/null || say warn "this node's own name, $host, does not resolve; add it to /etc/hosts"
if [ "$gpus" != 0 ]; then
  found=$(nvidia-smi -L 2>/dev/null | grep -c GPU)
  [ "$found" -ge "$gpus" ] || say fail "$gpus GPUs are wanted, nvidia-smi lists $found"
fi
exit 0
