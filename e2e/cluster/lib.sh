# Shared by the scripts of the local cluster: where things are, and how a process
# is started, awaited and stopped. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

dev=$root/.dev                    # what a user looks at: kubeconfig, ca.crt, log/
state=/var/lib/fateh-cluster      # data of the machine's one cluster
run=/run/fateh-cluster            # its process ids and sockets
log=$dev/log
pki=$state/pki
bin=$state/bin                    # links to the tools, by the names they are called by
cache=${FATEH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fateh}

node_ip=10.88.0.1                 # on a bridge of our own, shared by host and pods
node_bridge=fateh-node
pod_bridge=fateh-pods
pod_cidr=10.244.0.0/24
service_cidr=10.96.0.0/16
dns_ip=10.96.0.10
cgroup=fateh-cluster
containerd_socket=$run/containerd.sock
postgres_bin=/usr/lib/postgresql/15/bin
base_domain=fateh-platform.com
public_port=8443

kubectl() { "$bin/kubectl" --kubeconfig "$dev/kubeconfig" "$@"; }
ctr() { command ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

fail() { echo "error: $*" >&2; exit 1; }

# step TEXT: begins a step; the next step (or `finish`) prints how long it took.
step() {
  finish
  step_started=$SECONDS step_text=$1
  printf '  %-52s' "$1"
}
finish() {
  [ -z "${step_text:-}" ] || printf '%4d s\n' $((SECONDS - step_started))
  step_text=
}

# await SECONDS WHAT COMMAND…: polls a condition; on failure says what was awaited.
await() {
  local limit=$1 what=$2 deadline=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "$what did not come within $limit s; see $log"
    sleep 0.1
  done
}

# running NAME: the recorded process lives and is still the program that was started.
running() {
  local pid started
  read -r pid started 2>/dev/null < "$run/$1.pid" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ]
}
# When a process started, in clock ticks; nothing for one that has ended, reaped or not.
start_time() { sed 's/.*) //; /^[ZX]/d' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# start NAME COMMAND…: in the background, logging to .dev/log, unless it runs already.
start() {
  local name=$1
  shift
  running "$name" && return 0
  printf '%q ' "$@" > "$run/$name.command"
  setsid "$@" >> "$log/$name.log" 2>&1 < /dev/null &
  local pid=$!
  echo "$pid $(start_time $pid)" > "$run/$name.pid"
}

# stop NAME: by its own id; a hard kill after 10 s.
stop() {
  local pid _ deadline=$((SECONDS + 10)) signal=TERM
  # At TERM it waits until every client has gone by itself.
  [ "$1" != postgres ] || signal=INT
  running "$1" || { rm -f "$run/$1.pid"; return 0; }
  read -r pid _ < "$run/$1.pid"
  kill -"$signal" "$pid" 2>/dev/null || true
  while running "$1"; do
    [ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2>/dev/null || true
    sleep 0.05
  done
  rm -f "$run/$1.pid"
}
