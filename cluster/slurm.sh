#!/bin/bash
# A run of pd on Slurm: a Ray cluster for as long as the allocation lasts, with TLS and a token of its own.
#
#   sbatch cluster/slurm.sh configs/chest_xray.yaml [--set teacher.workers=16 ...]
#   sbatch cluster/slurm.sh sweep runs/faces [--full 8 ...]       # another command of pd than `run`
#
# Submit from a checkout on storage that all nodes share, in an environment in which `pd` is installed. When time is up (USR1, which
# only this script gets) or the job is preempted, it is put into the queue again, and the run goes on from what is finished.
# `scancel` ends it for good.
#SBATCH --job-name=pd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
set -euo pipefail
umask 077

refuse() {
  echo "slurm.sh: $1" >&2
  exit 2
}
usage="usage: sbatch cluster/slurm.sh [COMMAND] SETTINGS [--set KEY=VALUE ...]"
command=run
case ${1:?$usage} in
run | ingest | reid | teacher | generate | filter | sweep | student | audit | report | plan | doctor) command=$1 && shift ;;
esac
[ -e "${1:?$usage}" ] || [[ $1 = s3://* ]] || refuse "$1: no such file or folder below $PWD"
[ -x cluster/node-cert.sh ] || refuse "no cluster/node-cert.sh below $PWD; submit from the top of a checkout of pd"
for name in pd ray python openssl; do
  [ -n "$(type -P "$name")" ] || refuse "no \`$name\` on this job's PATH; activate the environment that has pd before sbatch (. .venv/bin/activate)"
done

port=${PD_RAY_PORT:-6379}
export wait_s=${PD_RAY_WAIT_S:-300} # for all nodes to have joined
export secrets batch=$$
secrets=$(mktemp -d "${SLURM_SUBMIT_DIR:-$PWD}/.pd-$SLURM_JOB_ID-XXXXXX")

# Addresses are asked of the routes: /etc/hosts often leads a node's own name to loopback, where no other node finds it.
cat >"$secrets/toward.py" <<'PY'
import socket, sys

kind, _, _, _, there = socket.getaddrinfo(sys.argv[1], 9, type=socket.SOCK_DGRAM)[0]
with socket.socket(kind, socket.SOCK_DGRAM) as route:  # nothing is sent
    route.connect(there)
    print(route.getsockname()[0])
PY
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]} # where this script runs
address=
[ "${#nodes[@]}" -gt 1 ] && address=$(python "$secrets/toward.py" "${nodes[1]}" 2>/dev/null) || true
case $address in "" | 127.* | ::1) address=$(hostname --all-ip-addresses | awk '{print $1}') ;; esac
address=${address:-127.0.0.1}

openssl rand -hex 32 >"$secrets/token"
cluster/node-cert.sh ca "$secrets/ca"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$secrets/token RAY_USAGE_STATS_ENABLED=0
export RAY_USE_TLS=1 RAY_TLS_CA_CERT=$secrets/ca/ca.crt
export RAY_worker_niceness=0 # as where pd starts Ray itself; by Ray's own, workers are left nothing beside other jobs of a node

# What a node runs: a certificate of its own, then Ray, until the file `over` is there. The dashboard answers on the head's loopback
# alone; Ray's agents take jobs on every node, from who has the token (see README.md).
cat >"$secrets/node.sh" <<'NODE'
set -eu
kind=$1 head=$2 port=$3 name=$(hostname)
own=$secrets/$name
fail() {
  echo "$name: $1" >"$own.failed" # slurm.sh says it; of another code srun would tell, too
  exit 0
}
for command in ray python openssl; do
  [ -n "$(type -P "$command")" ] || fail "no \`$command\` on the PATH there; pd's environment must lie where all nodes see it"
done
address=$head
if [ "$kind" = worker ]; then
  address=$(python "$secrets/toward.py" "$head") || fail "no route to the head at $head"
  end=$((SECONDS + wait_s))
  until timeout 5 bash -c "exec 3<>/dev/tcp/$head/$port" 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || fail "cannot reach the head's Ray at $head, port $port, from $address; is there a firewall?"
    sleep 1
  done
fi
cluster/node-cert.sh node "$secrets/ca" "$own" "$name" "$address" $(hostname --all-ip-addresses)
export RAY_TLS_SERVER_CERT=$own/tls.crt RAY_TLS_SERVER_KEY=$own/tls.key
words="--node-ip-address=$address"
[ "$kind" = head ] && words="$words --head --port=$port --dashboard-host=127.0.0.1" || words="$words --address=$head:$port"
[ -n "${SLURM_CPUS_ON_NODE:-}" ] && words="$words --num-cpus=$SLURM_CPUS_ON_NODE"
clear() { # all that Ray has started here, also before the job was queued again; it would hold the port
  for left in $(grep -lasE "RAY_TLS_SERVER_CERT=.*/\.pd-$SLURM_JOB_ID-[A-Za-z0-9]*/$name/tls\.crt" /proc/[0-9]*/environ); do
    left=${left#/proc/}
    kill -KILL "${left%/environ}" 2>/dev/null || true
  done
}
ray=
over() {
  trap '' TERM
  [ -z "$ray" ] || kill -TERM "$ray" 2>/dev/null || true
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -n "$ray" ] && kill -0 "$ray" 2>/dev/null || break
    sleep 1
  done
  clear
  exit 0
}
ended() { # by Slurm. A job that is preempted with a time of grace hears it by its steps alone, so the script is told
  [ "$kind" = head ] && kill -TERM "$batch" 2>/dev/null || true
  over
}
trap ended TERM
clear
begun=$SECONDS
for attempt in 1 2 3; do # on a busy machine one of Ray's processes may not be up in Ray's own time, and then all end
  ray start --block --disable-usage-stats $words >"$own.log" 2>&1 &
  ray=$!
  while kill -0 "$ray" 2>/dev/null; do
    if [ -e "$secrets/over" ] || [ ! -d "$secrets" ]; then
      over
    fi
    sleep 1
  done
  code=0
  wait "$ray" || code=$?
  [ $((SECONDS - begun)) -lt "$wait_s" ] || break
  clear
done
fail "Ray has ended with code $code: $(grep -v '^ *$' "$own.log" | tail -n 3 | tr '\n' ' ' | tr -d '\033')"
NODE

driver=
finish() {
  trap - EXIT
  trap '' TERM USR1
  [ -n "$driver" ] && kill -TERM "$driver" 2>/dev/null && wait "$driver" || true
  touch "$secrets/over"
  for _ in $(seq 250); do # Ray ends by itself: a step that is killed leaves lines that sound like a fault
    [ -n "$(jobs -rp)" ] || break
    sleep 0.1
  done
  kill $(jobs -p) 2>/dev/null || true
  rm -rf "$secrets"
}
again() {
  finish
  echo "slurm.sh: $1; the job is put into the queue again, and goes on from what is finished"
  scontrol requeue "$SLURM_JOB_ID"
  exit 143
}
ended() {
  if scontrol show job "$SLURM_JOB_ID" 2>/dev/null | grep -q 'PreemptTime=[0-9]'; then
    again "preempted"
  fi
  finish # by scancel: for good; Slurm itself queues a job again that it takes down for another reason
  exit 143
}
trap finish EXIT
trap 'again "its time is nearly up"' USR1
trap ended TERM

srun --nodes=1 --ntasks=1 --nodelist="$head" bash "$secrets/node.sh" head "$address" "$port" &
others=$((${#nodes[@]} - 1))
if [ "$others" -gt 0 ]; then
  srun --nodes="$others" --ntasks="$others" --exclude="$head" bash "$secrets/node.sh" worker "$address" "$port" &
fi

cluster/node-cert.sh node "$secrets/ca" "$secrets/driver" "$(hostname)" "$address" $(hostname --all-ip-addresses)
export RAY_TLS_SERVER_CERT=$secrets/driver/tls.crt RAY_TLS_SERVER_KEY=$secrets/driver/tls.key
export RAY_ADDRESS=$address:$port
begun=$((others > 0 ? 2 : 1))
end=$((SECONDS + wait_s))
joined() { timeout 60 ray status 2>/dev/null | grep -c ' node_' || true; }
until [ "$(joined)" -ge "${#nodes[@]}" ]; do
  if ls "$secrets"/*.failed >/dev/null 2>&1; then
    echo "slurm.sh: Ray did not start on $(cat "$secrets"/*.failed)" >&2
    exit 1
  elif [ "$(jobs -rp | wc -l)" -lt "$begun" ]; then
    echo "slurm.sh: Ray has ended on a node that was to start it; what srun said stands above" >&2
    exit 1
  elif [ "$SECONDS" -ge "$end" ]; then
    echo "slurm.sh: $(joined) of ${#nodes[@]} nodes have joined after $wait_s s (PD_RAY_WAIT_S); is a firewall between them?" >&2
    exit 1
  fi
  sleep 2 &
  wait $!
done

pd "$command" "$@" &
driver=$!
code=0
wait "$driver" || code=$?
driver=
exit "$code"
