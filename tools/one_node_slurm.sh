#!/usr/bin/env bash
# A Slurm cluster of one node, this machine, for tests and for trying things out.
#
#   tools/one_node_slurm.sh start FOLDER     start it; prints the line that sets PATH
#   tools/one_node_slurm.sh status FOLDER    exit code 0 where it answers
#   tools/one_node_slurm.sh stop FOLDER      end its jobs and its daemons
#
# Needs munged, slurmctld and slurmd (Debian: slurm-wlm, munge) and no systemd, cgroups or database.
# All its files lie in FOLDER, which only this user can enter, and it listens on 127.0.0.1 only.
# It runs as whoever calls, root or not, and takes jobs from that user alone.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

PATIENCE=30 # seconds to wait for an answer, and for processes to end

fail() {
    echo "one_node_slurm: $*" >&2
    exit 1
}

running() { # NAME: whether the daemon of that name that was started in FOLDER lives; sets `process`
    process=$(cat "$FOLDER/$1.pid" 2>/dev/null) || return 1
    [ -n "$process" ] && tr '\0' ' ' 2>/dev/null <"/proc/$process/cmdline" | grep -qF "$FOLDER/"
}

idle() { # the node takes jobs
    [ "$(timeout 5 sinfo --noheader --format=%T 2>/dev/null | tr -d '\n')" = "${1:-idle}" ]
}

answers() {
    idle idle || idle mixed || idle allocated || idle completing
}

wait_until() { # COMMAND...: call it until it succeeds, for PATIENCE seconds at most
    local deadline=$((SECONDS + PATIENCE))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

free_ports() {
    python3 -c '
import socket
held = [socket.socket() for _ in range(2)]
for each in held:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in held))'
}

configure() {
    local host user cpus memory ports gpus device
    host=$(uname -n)
    host=${host%%.*}
    user=$(id -un)
    cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # nproc heeds them
    memory=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
    read -ra ports <<<"$(free_ports)"
    gpus=0
    : >"$FOLDER/gres.conf"
    for device in /dev/nvidia[0-9]*; do
        [ -e "$device" ] || continue
        echo "Name=gpu File=$device" >>"$FOLDER/gres.conf"
        gpus=$((gpus + 1))
    done
    # config_overrides: believe this file, also where a container shows fewer CPUs than there are.
    # MinJobAge: Snakemake waits for ever for a job that squeue has forgotten.
    cat >"$SLURM_CONF" <<END
ClusterName=spinscape
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$FOLDER/munge.socket
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd.pid
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=batch_sched_delay=0
KillWait=5
MinJobAge=86400
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:$gpus State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

# Commands that know this cluster's configuration. The variable SLURM_CONF would do for most, but
# Snakemake drops it from the environment of srun, and of all commands where it runs inside a job.
wrap_commands() {
    local name
    rm -rf "$FOLDER/bin"
    mkdir "$FOLDER/bin"
    for name in sbatch scancel scontrol sinfo squeue srun; do
        printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v "$name")" >"$FOLDER/bin/$name"
    done
    chmod 755 "$FOLDER/bin/"*
}

launch() { # NAME COMMAND...: start a daemon, show the end of its log where it does not start
    local name=$1
    shift
    running "$name" && return
    rm -f "$FOLDER/$name.pid"
    if ! "$@" </dev/null >"$FOLDER/$name.out" 2>&1 || ! wait_until running "$name"; then
        tail -n 5 "$FOLDER/$name.out" "$FOLDER/$name.log" >&2 2>/dev/null || true
        fail "$name did not start"
    fi
}

start() {
    local name
    for name in munged slurmctld slurmd sinfo scancel python3; do
        command -v "$name" >/dev/null || fail "$name is not installed"
    done
    mkdir -p "$FOLDER"
    chmod 700 "$FOLDER"
    mkdir -p "$FOLDER/state" "$FOLDER/spool"
    if [ ! -s "$FOLDER/munge.key" ]; then
        (umask 077 && head -c 128 /dev/urandom >"$FOLDER/munge.key")
    fi
    if ! running slurmctld && ! running slurmd; then
        configure
        wrap_commands
    fi
    # --force: munged would have every user reach its socket.
    launch munged munged --force --key-file="$FOLDER/munge.key" --socket="$FOLDER/munge.socket" \
        --pid-file="$FOLDER/munged.pid" --log-file="$FOLDER/munged.log" --seed-file="$FOLDER/munge.seed"
    launch slurmctld slurmctld -c -f "$SLURM_CONF"
    launch slurmd slurmd -f "$SLURM_CONF"
    if ! wait_until answers; then
        tail -n 5 "$FOLDER/slurmctld.log" "$FOLDER/slurmd.log" >&2 || true
        fail "no answer within $PATIENCE s; sinfo says: $(timeout 5 sinfo --noheader --format='%T %E' 2>&1)"
    fi
}

no_jobs() {
    [ -z "$(timeout 5 squeue --noheader 2>/dev/null)" ]
}

ended() { # NAME: end a daemon
    running "$1" || return 0
    kill -TERM "$process" 2>/dev/null || true
    wait_until gone "$1" || kill -KILL "$process" 2>/dev/null || true
    wait_until gone "$1"
}

gone() {
    ! running "$1"
}

job_processes() { # ids of processes that this cluster's jobs started
    local file
    for file in /proc/[0-9]*/environ; do
        if tr '\0' '\n' 2>/dev/null <"$file" | grep -qxF "SLURM_CONF=$SLURM_CONF" &&
            tr '\0' '\n' 2>/dev/null <"$file" | grep -q '^SLURM_JOB_ID='; then
            file=${file#/proc/}
            echo "${file%/environ}"
        fi
    done
}

stop() {
    local left name
    if running slurmctld && running slurmd; then
        timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
        wait_until no_jobs || echo "one_node_slurm: jobs did not end; they are killed" >&2
    fi
    left=$(job_processes)
    # shellcheck disable=SC2086
    [ -z "$left" ] || kill -KILL $left 2>/dev/null || true
    for name in slurmd slurmctld munged; do
        ended "$name" || fail "$name does not end"
    done
}

[ $# -eq 2 ] || fail "usage: ${0##*/} start|status|stop FOLDER"
FOLDER=$(realpath -m -- "$2")
case $FOLDER in
*[!A-Za-z0-9/._+-]*) fail "Slurm cannot use a folder of this name: $FOLDER" ;;
esac
[ "${#FOLDER}" -le 90 ] || fail "a socket's path would be too long: $FOLDER"
export SLURM_CONF=$FOLDER/slurm.conf
PATH=:$PATH:
PATH=${PATH//":$FOLDER/bin:"/:}
PATH=${PATH#:}
PATH=${PATH%:}
case $1 in
start)
    start
    echo "export PATH=$FOLDER/bin:\$PATH"
    ;;
status)
    running slurmctld && running slurmd && answers || fail "Slurm does not answer"
    timeout 5 sinfo
    ;;
stop) stop ;;
*) fail "usage: ${0##*/} start|status|stop FOLDER" ;;
esac
