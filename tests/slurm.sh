#!/usr/bin/env bash
# A Slurm of one node for the tests: slurm.sh start DIR | stop DIR. Needs root and Debian's slurm-wlm and munge.
set -euo pipefail
action=$1 dir=$(realpath -m "$2")

stop() {
  for daemon in slurmctld slurmd munged; do
    if [ -f "$dir/$daemon.pid" ]; then kill "$(cat "$dir/$daemon.pid")" 2>/dev/null || true; fi
  done
}

if [ "$action" = stop ]; then
  scancel --full --user root 2>/dev/null || true
  stop
  exit
fi

mkdir -p "$dir/spool" "$dir/state"
chmod 755 "$dir"
install -d -o munge -g munge -m 755 "$dir/munge"
head -c 1024 /dev/urandom > "$dir/munge/key"
chown munge:munge "$dir/munge/key"
chmod 400 "$dir/munge/key"
runuser -u munge -- munged --force --key-file "$dir/munge/key" --socket "$dir/munge/socket" \
  --pid-file "$dir/munge/munged.pid" --log-file "$dir/munge/log" --seed-file "$dir/munge/seed"
ln -sf munge/munged.pid "$dir/munged.pid"

host=$(hostname -s)
cat > "$dir/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_TEST_PORT:-16817}
SlurmdPort=$((${SLURM_TEST_PORT:-16817} + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=10
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc --all) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$dir/slurm.conf"
slurmctld -c
slurmd -c
for _ in $(seq 60); do
  if sinfo -h -o %t 2>/dev/null | grep -q idle; then exit; fi
  sleep 0.5
done
echo "Slurm did not start; see $dir/slurmctld.log and slurmd.log" >&2
stop
exit 1
