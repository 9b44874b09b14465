# shellcheck shell=bash
# What the scripts here share. Sourced; expects $run to be `true` or `false`.

die() { echo "error: $1" >&2; exit 2; }

quote() {  # "$@" as a shell reads it back, here or there.
  local word line='' escaped="'\\''"
  for word; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word=\'${word//\'/$escaped}\'
    line+=" $word"
  done
  echo "${line# }"
}

call() {  # Prints a command, and runs it if asked to.
  quote "$@"
  # shellcheck disable=SC2154
  if $run; then "$@"; fi
}
