#!/bin/bash
# A run of pd on Slurm: a Ray cluster for as long as the allocation lasts, with TLS and a token of its own.
#
#   sbatch cluster/slurm.sh configs/chest_xray.yaml [--set teacher.workers=16 ...]
#
# Submit from a checkout on storage that all nodes share, in an environment in which `pd` is installed. When time is up or
# the job is preempted, Slurm puts it into the queue again, and the run goes on from what is finished.
#SBATCH --job-name=pd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@180
set -euo pipefail
umask 077

config=${1:?usage: sbatch cluster/slurm.sh SETTINGS [--set KEY=VALUE ...]}
shift
port=${PD_RAY_PORT:-6379}
wait_s=${PD_RAY_WAIT_S:-300} # for all nodes to have joined
secrets=$(mktemp -d "$SLURM_SUBMIT_DIR/.pd-$SLURM_JOB_ID-XXXXXX")
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

openssl rand -hex 32 >"$secrets/token"
cluster/node-cert.sh ca "$secrets/ca"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$secrets/token RAY_USAGE_STATS_ENABLED=0
export RAY_USE_TLS=1 RAY_TLS_CA_CERT=$secrets/ca/ca.crt

# What a node runs: a certificate of its own, then Ray. The dashboard answers on the head's loopback alone; Ray's agents take jobs on
# every node, from who has the token (see README.md).
cat >"$secrets/node.sh" <<'NODE'
set -eu
own=$1/$(hostname)
cluster/node-cert.sh node "$1/ca" "$own" "$(hostname)" $(hostname --all-ip-addresses)
export RAY_TLS_SERVER_CERT=$own/tls.crt RAY_TLS_SERVER_KEY=$own/tls.key
shift
exec ray start --block --disable-usage-stats "$@"
NODE

driver=
finish() {
  trap - EXIT TERM
  [ -n "$driver" ] && kill -TERM "$driver" 2>/dev/null && wait "$driver" || true
  kill $(jobs -p) 2>/dev/null || true
  rm -rf "$secrets"
}
trap finish EXIT
trap 'finish; scontrol requeue "$SLURM_JOB_ID"; exit 143' TERM

srun --nodes=1 --ntasks=1 --nodelist="$head" \
  bash "$secrets/node.sh" "$secrets" --head --node-ip-address="$address" --port="$port" --dashboard-host=127.0.0.1 &
others=$((${#nodes[@]} - 1))
if [ "$others" -gt 0 ]; then
  sleep 15
  srun --nodes="$others" --ntasks="$others" --exclude="$head" \
    bash "$secrets/node.sh" "$secrets" --address="$address:$port" &
fi

cluster/node-cert.sh node "$secrets/ca" "$secrets/driver" "$(hostname)" "$address"
export RAY_TLS_SERVER_CERT=$secrets/driver/tls.crt RAY_TLS_SERVER_KEY=$secrets/driver/tls.key
export RAY_ADDRESS=$address:$port
begun=$((others > 0 ? 2 : 1))
end=$((SECONDS + wait_s))
joined() { timeout 60 ray status 2>/dev/null | grep -c ' node_' || true; }
until [ "$(joined)" -ge "${#nodes[@]}" ]; do
  if [ "$(jobs -rp | wc -l)" -lt "$begun" ]; then
    echo "slurm.sh: Ray has ended on a node that was to start it; what it said stands above" >&2
    exit 1
  elif [ "$SECONDS" -ge "$end" ]; then
    echo "slurm.sh: $(joined) of ${#nodes[@]} nodes have joined after $wait_s s (PD_RAY_WAIT_S); what they said stands above" >&2
    exit 1
  fi
  sleep 5
done

pd run "$config" "$@" &
driver=$!
code=0
wait "$driver" || code=$?
driver=
exit "$code"
