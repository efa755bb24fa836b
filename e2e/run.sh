#!/usr/bin/env bash
# Runs the stories on the machine's one local cluster, and takes it down afterwards.
# Usage: e2e/run.sh [--check | bench | arguments of the test binary]; --check only says whether it could
source "$(dirname "$0")/cluster/lib.sh"
# A cluster that stories made and did not live to take down is not anyone's demo.
if running kube-apiserver && [ -e "$run/story.pid" ] && ! running story; then "$here/down.sh"; fi
if running kube-apiserver; then
  fail "a local cluster is up (a demo, perhaps); the stories need it for themselves: run \`make down\` first"
fi
[ "${1:-}" != --check ] || exit 0
cleanup() {
  status=$?
  trap - EXIT
  if [ $status -ne 0 ] && running kube-apiserver; then
    # What a person would look at first; the cluster itself is about to go.
    dump=$dev/failure
    rm -rf "$dump" && mkdir -p "$dump"
    kubectl get localnodes,databaseservers -o yaml > "$dump/resources.yaml" 2>&1 || true
    kubectl get pods,events -A -o wide > "$dump/pods.txt" 2>&1 || true
    kubectl logs -n fateh-system deployment/fateh-operator --tail=-1 > "$dump/operator.log" 2>&1 || true
    cp -r "$log" "$dump/" 2>/dev/null || true
    echo "state at the failure: $dump" >&2
  fi
  "$here/down.sh"
  exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM
"$here/up.sh"
echo "$$ $(start_time $$)" > "$run/story.pid"
"$here/deploy.sh"
cd "$root"
export KUBECONFIG=$dev/kubeconfig PATH=$bin:$PATH RUST_BACKTRACE=0
export FATEH_CA=$dev/ca.crt FATEH_AUDIT=$log/audit.log FATEH_RUN=$run FATEH_POSTGRES_BIN=$postgres_bin FATEH_CLUSTER=$here FATEH_PKI=$pki
if [ "${1:-}" = bench ]; then
  FATEH_BENCH=$dev/bench cargo test --locked -p fateh-e2e --test bench -- --nocapture
elif [ $# -gt 0 ]; then
  # One at a time: some of them take parts of the cluster away.
  cargo test --locked -p fateh-e2e -- --test-threads 1 --show-output "$@"
else
  cargo test --locked -p fateh-e2e -- --skip disturbing
  cargo test --locked -p fateh-e2e -- disturbing --test-threads 1 --show-output
fi
