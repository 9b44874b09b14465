#!/usr/bin/env bash
# Trains on the TPU slices of a GKE cluster with xpk. Prints its commands; with --run, runs them.
#
#   launch/gke_xpk.sh create --cluster=C --workload=W --tpu-type=v5p-128 [--num-slices=2]
#       (--docker-image=IMAGE | --base-docker-image=python:3.12) -- ntm train ...
#   launch/gke_xpk.sh list --cluster=C
#   launch/gke_xpk.sh logs | delete --cluster=C --workload=W
#
# An image given as --docker-image has ntm installed; upon --base-docker-image this checkout is
# layered, and installed when the workload starts. Any other option goes to xpk (of logs: gcloud)
# as it is, such as --project, --zone, --spot and --priority.
set -euo pipefail

# shellcheck source=/dev/null
source "$(dirname "$0")/common.sh"

action=${1:---help}
[[ $action != --help ]] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit; }
shift
cluster='' workload='' tpu_type='' docker_image='' base_docker_image='' run=false
options=()
# shellcheck disable=SC2034 # `call` reads it.
while (( $# )); do
  case $1 in
    --) shift; break ;;
    --run) run=true ;;
    --cluster=* | --workload=* | --tpu-type=* | --docker-image=* | --base-docker-image=*)
      flag=${1%%=*}; flag=${flag#--}; printf -v "${flag//-/_}" %s "${1#*=}" ;;
    --*) options+=("$1") ;;
    *) die "$1 is no flag of the form --name=value; the command comes after --" ;;
  esac
  shift
done
missing=''
case $action in
  create) flags=(cluster workload tpu_type) ;;
  logs | delete) flags=(cluster workload) ;;
  list) flags=(cluster) ;;
  *) die "no $action; there are create, list, logs and delete" ;;
esac
for flag in "${flags[@]}"; do [[ -n ${!flag} ]] || missing+=" --${flag//_/-}"; done
[[ -z $missing ]] || die "$action needs$missing"

case $action in
  create)
    (( $# )) || die "create needs the command, after --"
    # exec, because xpk sends SIGTERM to the shell it starts, which would not pass it on.
    command="exec $(quote "$@")"
    if [[ -n $docker_image && -z $base_docker_image ]]; then
      image=("--docker-image=$docker_image")
    elif [[ -n $base_docker_image && -z $docker_image ]]; then
      image=("--base-docker-image=$base_docker_image"
             "--script-dir=$(cd "$(dirname "$0")/.." && pwd)")
      command="pip install --quiet --editable '.[tpu]' && $command"
    else
      die "create needs one of --docker-image and --base-docker-image"
    fi
    # Without --max-restarts a preempted workload stays down; half a minute to save, the default,
    # is short.
    call xpk workload create "--cluster=$cluster" "--workload=$workload" "--tpu-type=$tpu_type" \
      "${image[@]}" --max-restarts=50 --termination-grace-period-seconds=300 \
      ${options[@]+"${options[@]}"} "--command=$command" ;;
  list) call xpk workload list "--cluster=$cluster" ${options[@]+"${options[@]}"} ;;
  logs)  # Worker 0 of slice 0, before and after restarts; kubectl shows the running pods only.
    filter="resource.type=\"k8s_container\" resource.labels.cluster_name=\"$cluster\""
    filter+=" resource.labels.pod_name:\"$workload-slice-job-0-0-\""
    call gcloud logging read "$filter" --order=asc '--format=value(timestamp,textPayload)' \
      ${options[@]+"${options[@]}"} ;;
  delete)
    call xpk workload delete "--cluster=$cluster" "--workload=$workload" \
      ${options[@]+"${options[@]}"} ;;
esac
