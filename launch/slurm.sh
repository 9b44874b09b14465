#!/usr/bin/env bash
# Trains on the GPU nodes of a Slurm cluster. Prints the sbatch command; with --run, submits it.
#
#   launch/slurm.sh --nodes=2 --gpus-per-node=8 [--time=24:00:00 --partition=P ...] -- ntm train ...
#
# Any other option goes to sbatch as it is. Call it where `ntm` is on the PATH, from the directory
# the job is to work in; the workdir must be on a disk that all nodes share.
set -euo pipefail

# One task a GPU, and each sees all GPUs of its node: in Slurm, jax.distributed gives the task of
# local rank i the i-th GPU it can see. (--gpus-per-task would show each task one, as its 0-th.)
step=(srun --label --kill-on-bad-exit=1 --gpu-bind=none)

# What sbatch runs on the first node is this file again, as `slurm.sh job ntm train ...`. Slurm
# requeues a job whose node failed or that was preempted, but not one at its time limit: shortly
# before it, USR1 comes here, the tasks get SIGTERM and save, and the job goes back to the queue.
if [[ ${1:-} == job ]]; then
  shift
  # Since Slurm 22.05 srun does not look at what sbatch was given.
  if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi
  ending=false code=0
  trap 'ending=true; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
  "${step[@]}" "$@" &
  wait $! || code=$?
  if $ending; then
    wait $! || true  # The signal ended the first wait; this one lasts until all is saved.
    exec scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$code"
fi

# Not before this: in a job, Slurm runs a copy of this file alone.
# shellcheck source=/dev/null
source "$(dirname "$0")/common.sh"

[[ ${1:---help} != --help ]] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit; }
missing=' --nodes --gpus-per-node' tasks='' run=false
options=()
while (( $# )); do
  case $1 in
    --) shift; break ;;
    --run) run=true; shift; continue ;;
    --nodes=?*) missing=${missing/ --nodes/} ;;
    --gpus-per-node=?*) missing=${missing/ --gpus-per-node/}; tasks=${1##*[=:]} ;;  # [TYPE:]COUNT
    --*) ;;
    *) die "$1 is no flag of the form --name=value; the command comes after --" ;;
  esac
  options+=("$1")
  shift
done
[[ -z $missing ]] || die "sbatch needs$missing"
[[ $tasks =~ ^[0-9]+$ ]] || die "--gpus-per-node is to end in a number, not in $tasks"
(( $# )) || die "sbatch needs the command, after --"

# Options given override these: sbatch takes the last.
submit=(sbatch --job-name=ntm --output=ntm-%j.log --open-mode=append --requeue
        --signal=B:USR1@120 "--ntasks-per-node=$tasks" "${options[@]}" "$0" job "$@")
call "${submit[@]}"
$run || echo "# and in the job: $(quote "${step[@]}" "$@")"
