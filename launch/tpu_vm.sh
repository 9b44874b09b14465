#!/usr/bin/env bash
# Trains on a Cloud TPU slice with gcloud. Prints its commands; with --run, runs them.
#
#   launch/tpu_vm.sh create --name=N --zone=Z --type=v5p-128 --version=v2-alpha-tpuv5 [--spot]
#       [--repository=URL --revision=SHA -- ntm train ...]   to install and train at every boot
#   launch/tpu_vm.sh renew      as create; queues the slice again if it was preempted
#   launch/tpu_vm.sh install --name=N --zone=Z --repository=URL --revision=SHA
#   launch/tpu_vm.sh train --name=N --zone=Z -- ntm train ...
#   launch/tpu_vm.sh logs | status | stop | delete --name=N --zone=Z
#
# --project=P goes with all of them, --worker=I with those that use ssh (logs reads worker 0, the
# others go to all); any other option goes to gcloud as it is, such as --reserved of create.
set -euo pipefail

# shellcheck source=/dev/null
source "$(dirname "$0")/common.sh"

need() {
  local flag missing=''
  for flag; do [[ -n ${!flag} ]] || missing+=" --$flag"; done
  [[ -z $missing ]] || die "$action needs$missing"
}

remote() {
  call gcloud compute tpus tpu-vm ssh "$name" "${options[@]}" "--worker=$1" "--command=$2"
}

install_script() {  # With uv, because TPU images may have an older Python than we need.
  cat <<EOF
set -e
export HOME=/root
curl -LsSf https://astral.sh/uv/install.sh | env UV_INSTALL_DIR=/usr/local/bin sh
rm -rf /opt/ntm
git clone --quiet $(quote "$repository") /opt/ntm
cd /opt/ntm
git checkout --quiet $(quote "$revision")
uv venv --python=3.12
uv pip install --editable '.[tpu]'
EOF
}

# A systemd unit outlives the connection, refuses a second run beside the first, and starts again,
# from the newest checkpoint, when the end of another worker ends this one. Only the main process
# gets SIGTERM (mixed), and five minutes to save. In its command $$ is a plain $.
train_script() {
  cat <<EOF
systemd-run --unit=ntm --collect --working-directory=/opt/ntm --setenv=HOME=/root \\
  --setenv=PATH=/opt/ntm/.venv/bin:/usr/local/bin:/usr/bin:/bin \\
  --property=KillMode=mixed --property=TimeoutStopSec=5min \\
  --property=Restart=on-failure --property=RestartSec=30 \\
  --property=StartLimitIntervalSec=1h --property=StartLimitBurst=5 \\
  --property=StandardOutput=append:/var/log/ntm.log \\
  /usr/bin/env $(quote "${@//\$/\$\$}")
EOF
}

action=${1:---help}
[[ $action != --help ]] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit; }
shift
name='' zone='' project='' type='' version='' repository='' revision='' worker='' run=false
options=()
while (( $# )); do
  flag=${1%%=*}
  case $1 in
    --) shift; break ;;
    --run) run=true ;;
    --name=* | --zone=* | --project=* | --type=* | --version=* | --repository=* | --revision=* | \
    --worker=*)
      printf -v "${flag#--}" %s "${1#*=}" ;;
    --*) options+=("$1") ;;
    *) die "$1 is no flag of the form --name=value; the command comes after --" ;;
  esac
  shift
done
case $action in
  create | renew) need name zone type version; (( $# == 0 )) || need repository revision ;;
  install) need name zone repository revision ;;
  train) need name zone; (( $# )) || die "train needs the command, after --" ;;
  logs | status | stop | delete) need name zone ;;
  *) die "no $action; there are create, renew, install, train, logs, status, stop and delete" ;;
esac

where=("--zone=$zone" ${project:+"--project=$project"})
options=("${where[@]}" ${options[@]+"${options[@]}"})
requests=(gcloud compute tpus queued-resources)
describe=("${requests[@]}" describe "$name" "${where[@]}" '--format=value(state.state)')
create=("${requests[@]}" create "$name" "--node-id=$name" "--accelerator-type=$type"
        "--runtime-version=$version" "${options[@]}")
if (( $# )); then  # The script ends at ;end;, not at a comma: see gcloud topic escaping.
  create+=("--metadata=^;end;^startup-script=#!/bin/bash
exec >>/var/log/ntm.log 2>&1
$(install_script)
$(train_script "$@")")
fi
case $action in
  create) call "${create[@]}" ;;
  renew)  # A preempted request stays SUSPENDED; a new one trains from the newest checkpoint.
    state=SUSPENDED
    quote "${describe[@]}"
    if $run; then state=$("${describe[@]}"); fi
    [[ $state == SUSPENDED ]] || { echo "# $name is $state"; exit; }
    call "${requests[@]}" delete "$name" "${where[@]}" --force --quiet
    call "${create[@]}" ;;
  install) remote "${worker:-all}" "sudo bash -c $(quote "$(install_script)")" ;;
  train) remote "${worker:-all}" "sudo $(train_script "$@")" ;;
  logs) remote "${worker:-0}" 'tail -n 100 -F /var/log/ntm.log' ;;
  status)
    call "${describe[@]}"
    remote "${worker:-all}" 'systemctl is-active ntm; tail -n 1 /var/log/ntm.log' ;;
  stop) remote "${worker:-all}" 'sudo systemctl stop ntm' ;;
  delete) call "${requests[@]}" delete "$name" "${options[@]}" --force --quiet ;;
esac
