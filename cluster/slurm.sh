#!/usr/bin/env bash
# A sweep on a Slurm allocation: Ray's head on its first node, a worker on each other one.
#
#   sbatch --nodes=4 cluster/slurm.sh experiments/ablation_k.yaml --storage /shared/hypogen-runs
#
# Give the storage as a folder that all nodes mount, or as s3://…. Submit it from the project's folder on such a mount, after
# `make setup` there. The same command again goes on from what is done; Slurm's warning before the time limit ends the sweep
# with checkpoints.
#SBATCH --job-name=hypogen
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

if [ "$#" -lt 1 ]; then
    echo "usage: sbatch --nodes=N $0 EXPERIMENT.yaml [options of orchestrator.sweep]" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:-.}"
bin="$PWD/.venv/bin"
if [ ! -x "$bin/ray" ]; then
    echo "$bin/ray is missing: run 'make setup' in $PWD first, on a file system that all nodes mount" >&2
    exit 2
fi

# Only who has the secret may enter this allocation's Ray; it lies where only its owner can read it.
umask 077
secret="$PWD/.ray-token-${SLURM_JOB_ID:?run it with sbatch}"
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$secret"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$secret" RAY_USAGE_STATS_ENABLED=0
trap 'rm -f "$secret"; jobs -p | xargs -r kill 2>/dev/null || true' EXIT

mapfile -t nodes < <(scontrol show hostnames "${SLURM_JOB_NODELIST:?}")
port="${HYPOGEN_RAY_PORT:-6379}"
address="${nodes[0]}:$port"
cpus="${SLURM_CPUS_PER_TASK:-1}"
gpus="${SLURM_GPUS_PER_TASK:-0}"

srun --export=ALL --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" \
    "$bin/ray" start --head --port="$port" --num-cpus="$cpus" --num-gpus="$gpus" --disable-usage-stats --block &
for _ in $(seq 120); do
    "$bin/ray" health-check --address "$address" >/dev/null 2>&1 && break
    sleep 1
done
if [ "${#nodes[@]}" -gt 1 ]; then
    srun --export=ALL --nodes="$((${#nodes[@]} - 1))" --ntasks="$((${#nodes[@]} - 1))" --exclude="${nodes[0]}" \
        "$bin/ray" start --address="$address" --num-cpus="$cpus" --num-gpus="$gpus" --block &
fi

# In the background, so that the warning reaches this script, which passes it on and waits for the checkpoints.
"$bin/python" -m orchestrator.sweep "$@" --address "$address" &
sweep=$!
trap 'kill -TERM "$sweep" 2>/dev/null || true' TERM
status=0
wait "$sweep" || status=$?
while kill -0 "$sweep" 2>/dev/null; do
    status=0
    wait "$sweep" || status=$?
done
exit "$status"
