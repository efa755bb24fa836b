#!/usr/bin/env bash
# Runs the integration tests against real parts started for them: etcd, the API server and the
# controllers that tests need, PostgreSQL 15 and 18, and the operator with its own rights.
# Everything listens on loopback, at ports that are free, and is stopped at the end.
# Usage: tests/run.sh [integration|node|hub|load|ledger|faults|bench|fixtures|all] [arguments of the test program]; of bench: its parts
suite=${1:-all}
[ $# -eq 0 ] || shift
source "$(dirname "$0")/../e2e/cluster/lib.sh"
"$here/packages.sh" tests
tests=$root/tests
mapfile -t tools < <("$here/tools.sh" kubernetes helm)
[ ${#tools[@]} = 2 ] || fail "the tools could not be built"
postgres_18=$("$tests/postgres-18.sh")
# The programs that go into images: what is tested is what runs.
programs=$("$here/programs.sh")

# What a run that was killed left behind.
for old in /tmp/fateh-tests.*/; do
  run=${old}run
  [ -d "$run" ] && ! running owner || continue
  for record in "$run"/*.pid; do stop "$(basename "$record" .pid)"; done
  rm -rf "$old"
done

# A cluster of its own kind, beside the machine's one: other directories, other ports.
state=$(mktemp -d /tmp/fateh-tests.XXXXXX)
run=$state/run log=$state/log bin=$state/bin
mkdir -p "$run" "$log" "$bin"
chmod 755 "$state" "$run"
echo "$$ $(start_time $$)" > "$run/owner.pid"
started=()
cleanup() {
  status=$?
  trap - EXIT
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do stop "${started[$i]}"; done
  if [ $status -ne 0 ]; then
    mkdir -p "$dev/log/integration" && cp "$log"/*.log "$dev/log/integration/" 2>/dev/null
    echo "logs of the parts: $dev/log/integration" >&2
  fi
  rm -rf "$state"
  exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM
launch() { start "$@"; started+=("$1"); }
# Programs are started again and again; what is built meanwhile is not theirs.
mkdir "$state/programs"
cp "$programs"/{fateh-operator,fateh-hub,node-runtime,kubectl-fateh} "$state/programs/"
# Those that are watched at their work (layout/record.sh).
[ -z "${FATEH_PROGRAMS_INSTEAD:-}" ] || cp "$FATEH_PROGRAMS_INSTEAD"/* "$state/programs/"
programs=$state/programs

for name in etcd kube-apiserver kube-controller-manager kubectl; do ln -s "${tools[0]}" "$bin/$name"; done
ln -s "${tools[1]}" "$bin/helm"
read -r pg15_port pg18_port < <(python3 "$tests/free-ports.py" 2)
kubectl() { "$bin/kubectl" --kubeconfig "$state/admin.kubeconfig" "$@"; }

kubeconfig() { # FILE TOKEN
  cat > "$1" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: tests, cluster: {server: "https://127.0.0.1:$api_port", insecure-skip-tls-verify: true}}]
users: [{name: user, user: {token: "$2"}}]
contexts: [{name: tests, context: {cluster: tests, user: user}}]
current-context: tests
YAML
}
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$state/sa.key" 2>/dev/null
openssl pkey -in "$state/sa.key" -pubout -out "$state/sa.pub" 2>/dev/null
admin_token=$(openssl rand -hex 16)
operator_password=$(openssl rand -hex 16)
echo "$admin_token,admin,admin,system:masters" > "$state/tokens.csv"

# An API server with nothing in it but the platform's own definitions and rights. NAME tells its processes from others'.
api_server() { # NAME
  step "API server and controllers for $1"
  local etcd_port peer_port metrics_port
  read -r etcd_port peer_port api_port metrics_port < <(python3 "$tests/free-ports.py" 4)
  launch "etcd-$1" "$bin/etcd" --data-dir "$state/etcd-$1" --unsafe-no-fsync --quota-backend-bytes 8589934592 --logger zap --log-level warn \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-cluster "default=http://127.0.0.1:$peer_port"
  launch "kube-apiserver-$1" "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" --cert-dir "$state/apiserver" \
    --bind-address 127.0.0.1 --secure-port "$api_port" --service-cluster-ip-range 10.97.0.0/16 --token-auth-file "$state/tokens.csv" \
    --authorization-mode RBAC --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$state/sa.pub" --service-account-signing-key-file "$state/sa.key"
  kubeconfig "$state/admin-$1.kubeconfig" "$admin_token"
  ln -sf "admin-$1.kubeconfig" "$state/admin.kubeconfig"
  await 60 "the API server" kubectl get --raw /readyz
  # No Deployment controller: the tests say themselves what has become of pods.
  launch "kube-controller-manager-$1" "$bin/kube-controller-manager" --kubeconfig "$state/admin-$1.kubeconfig" \
    --bind-address 127.0.0.1 --secure-port "$metrics_port" --leader-elect=false \
    --kube-api-qps 500 --kube-api-burst 1000 --concurrent-namespace-syncs 20 \
    --controllers namespace-controller,garbage-collector-controller,serviceaccount-controller
  kubectl create namespace fateh-system >/dev/null
  kubectl create secret generic postgres-admin -n fateh-system --from-literal=username=fateh_operator \
    --from-literal=password="$operator_password" >/dev/null
  kubectl apply --server-side -f "$root/crds/" >/dev/null
  kubectl wait --for=condition=Established --timeout=30s crd --all >/dev/null
  "$bin/helm" template fateh "$root/charts/fateh" --namespace fateh-system --kube-version 1.36 \
    --set operator.image=none --set hub.enabled=true --set hub.image=none --set hub.adminEmail=root@example.com --set node.image=registry.test/node-runtime:1 | kubectl apply --server-side -f - >/dev/null
  server pg15 "$pg15_port" pg15
  server pg18 "$pg18_port" pg18
}
server() { # NAME PORT REGION
  kubectl apply -f - >/dev/null <<YAML
apiVersion: fateh-platform.com/v1alpha1
kind: DatabaseServer
metadata: {name: $1}
spec:
  host: 127.0.0.1
  port: $2
  adminSecretRef: {name: postgres-admin}
  tls: {mode: Disable}
  regions: [$3]
  # Room for the nodes of all suites: none of them waits until another's is gone.
  capacity: {connectionOvercommit: 100}
YAML
}
# How test programs are built, whatever the environment calls so.
profile=test
# Runs one of the test programs against the API server of the moment.
run_tests() { # PROGRAM [ARGUMENTS]
  local program=$1
  shift
  (cd "$root" && KUBECONFIG=$state/admin.kubeconfig FATEH_OPERATOR_PASSWORD=$operator_password \
    FATEH_PG15_PORT=$pg15_port FATEH_PG18_PORT=$pg18_port FATEH_LOGS=$log FATEH_PROGRAMS=$programs FATEH_HELM=$bin/helm FATEH_PGBENCH=$postgres_bin/pgbench \
    FATEH_OPERATOR_KUBECONFIG=$state/operator.kubeconfig FATEH_OPERATED_KUBECONFIG=$state/admin-provisioning.kubeconfig FATEH_BENCH=$dev/bench FATEH_TESTS=$tests FATEH_STATE=$state FATEH_HUB=http://127.0.0.1:${hub_port:-} FATEH_COLLECTOR=127.0.0.1:${collector_port:-} \
    RUST_BACKTRACE=0 cargo test --locked --profile "$profile" -p fateh-tests --test "$program" -- "$@")
}

# The same, of programs that send traces.
traced() {
  (export "${traces[@]}" && run_tests "$@")
}

echo "integration environment:"
step "PostgreSQL 15 and 18"
# The servers run as another user, who may not be able to enter the cache.
cp -r "$postgres_18" "$state/postgres-18-programs"
chmod -R a+rX "$state/postgres-18-programs"
as_postgres=()
if [ "$(id -u)" = 0 ]; then as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups); fi
postgres() { # NAME BIN PORT [MORE SETTINGS]
  install -d ${as_postgres:+-o postgres -g postgres} -m 700 "$state/$1" "$state/$1.socket"
  "${as_postgres[@]}" "$2/initdb" -D "$state/$1" -U postgres --auth-local trust --auth-host scram-sha-256 \
    --encoding UTF8 --locale C.UTF-8 --no-sync >/dev/null
  # Everything is logged, so that a test can search it for secrets. No fsync: the data is thrown away.
  launch "$1" "${as_postgres[@]}" "$2/postgres" -D "$state/$1" -p "$3" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories="$state/$1.socket" -c fsync=off -c log_statement=all -c max_connections=200 "${@:4}"
  await 30 "$1" "$postgres_bin/psql" -h "$state/$1.socket" -p "$3" -U postgres -d postgres -c 'SELECT 1'
  # This one statement holds a password in clear; what is tested is that the operator sends none.
  PGOPTIONS="-c log_statement=none" "$postgres_bin/psql" -h "$state/$1.socket" -p "$3" -U postgres -d postgres -v ON_ERROR_STOP=1 -qAt <<SQL
CREATE ROLE fateh_operator LOGIN CREATEDB CREATEROLE NOSUPERUSER PASSWORD '$operator_password';
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO fateh_operator;
SQL
}
postgres postgres-15 "$postgres_bin" "$pg15_port"
postgres postgres-18 "$state/postgres-18-programs/bin" "$pg18_port"

operator_kubeconfig() {
  kubeconfig "$state/operator.kubeconfig" "$(kubectl create token fateh-operator -n fateh-system --duration=4h)"
}

if [ "$suite" = bench ]; then
  # What loads a node shares its processors: what it needs itself is lost to the node.
  profile=release
  [ $# -gt 0 ] || set -- provisioning runtime loaded simulated rollouts hub_loaded
  for part; do
    settings=()
    # A node's writes are measured as they are in production: on the disk, and not written a second time as text.
    [ "$part" != loaded ] && [ "$part" != hub_loaded ] || settings=(-c fsync=on -c log_statement=none)
    # Nobody is to visit databases that have no files.
    [ "$part" != simulated ] && [ "$part" != rollouts ] || settings=(-c autovacuum=off)
    stop postgres-18
    rm -rf "$state/postgres-18" "$state/postgres-18.socket"
    postgres postgres-18 "$state/postgres-18-programs/bin" "$pg18_port" "${settings[@]}"
    api_server "$part"
    operator_kubeconfig
    servers=("$part")
    if [ "$part" = provisioning ]; then
      # One without an operator, for what is sent bare.
      api_server bare
      servers+=(bare)
    fi
    finish
    run_tests bench --exact "$part" --nocapture
    for server in "${servers[@]}"; do
      for name in kube-controller-manager kube-apiserver etcd; do stop "$name-$server"; done
    done
  done
  exit
fi

api_server integration
# Dumps are made by the older one's client.
hub_server=pg18
[ "$suite" != fixtures ] || hub_server=pg15
step "operator, with the rights of the chart"
operator_kubeconfig
read -r hub_port hub_management collector_port < <(python3 "$tests/free-ports.py" 3)
# A test listens there for a while; traces of other tests are lost, and nobody waits for them.
traces=(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$collector_port" OTEL_BSP_SCHEDULE_DELAY=200)
kubectl create token fateh-operator -n fateh-system --duration=4h --audience=https://hub.fateh-platform.com > "$state/hub-token"
launch operator env "${traces[@]}" KUBECONFIG="$state/operator.kubeconfig" RUST_LOG=debug "$programs/fateh-operator" --log-format=json \
  --node-image=registry.test/node-runtime:1 --report-interval=2 --probe-interval=2 --management-address="127.0.0.1:0" \
  --hub-url="http://127.0.0.1:$hub_port" --hub-token="$state/hub-token" --hub-database-server="$hub_server" --hub-admin-email=root@example.com --hub-key-days=0.00052 --hub-key-lead=1
kubectl wait --for=condition=Reachable --timeout=60s databaseserver/pg15 databaseserver/pg18 >/dev/null
step "hub, on what the operator made for it"
kubectl wait --for=create --timeout=60s -n fateh-system secret/hub-database secret/hub-signing-key secret/hub-invitation >/dev/null
launch hub-secrets env KUBECONFIG="$state/admin.kubeconfig" "$tests/mount-secrets.sh" "$bin/kubectl" "$state/hub"
await 30 "the hub's files" test -s "$state/hub/database/password" -a -s "$state/hub/signing-key/key.pem"
kubeconfig "$state/hub.kubeconfig" "$(kubectl create token fateh-hub -n fateh-system --duration=4h)"
launch hub env KUBECONFIG="$state/hub.kubeconfig" FATEH_MOUNTS="$state/hub" "$programs/fateh-hub" \
  --http-address="127.0.0.1:$hub_port" --management-address="127.0.0.1:$hub_management"
await 30 "the hub" curl -sf -o /dev/null "http://127.0.0.1:$hub_management/readyz"
finish
case $suite in
  hub) traced hub "$@" ;;
  integration | node) run_tests "$suite" "$@" ;;
  load) run_tests load --test-threads 1 --show-output "$@" ;;
  # One at a time: each crashes the PostgreSQL that the other would be looking into.
  ledger) run_tests ledger --test-threads 1 --show-output "$@" ;;
  all)
    run_tests integration "$@"
    run_tests node "$@"
    traced hub "$@"
    # One at a time, because they measure; and they crash PostgreSQL.
    run_tests load --test-threads 1 --show-output "$@"
    run_tests ledger --test-threads 1 --show-output "$@"
    ;;
esac

# What this release makes, for the next one's tests.
if [ "$suite" = fixtures ]; then
  kubectl apply -f - >/dev/null <<YAML
apiVersion: fateh-platform.com/v1alpha1
kind: LocalNode
metadata: {name: fixture}
spec: {displayName: fixture, region: pg15, adminEmail: fixture@example.com}
YAML
  kubectl wait --for=condition=DatabaseReady --timeout=60s localnode/fixture >/dev/null
  dump() { # DATABASE FILE: schema and migrations; the rights of the login role are made anew where it is restored
    local dump=("$postgres_bin/pg_dump" -h "$state/postgres-15.socket" -p "$pg15_port" -U postgres --no-owner)
    { "${dump[@]}" --schema-only "$1" && "${dump[@]}" --data-only --inserts --table '*._sqlx_migrations' "$1"; } \
      | grep -v -e "TO $1;" -e '^--' -e '^$' -e '^.restrict ' -e '^.unrestrict ' > "$tests/fixtures/before/$2"
  }
  dump node_fixture node.sql
  dump global_platform hub.sql
fi

# Everything was logged, by PostgreSQL and by the operator; no secret may be in it, nor in what anyone can read.
step "no secret in logs, events, status"
kubectl get secrets -A -o json | jq -r '.items[] | select(.metadata.name | startswith("node-") or startswith("hub-") or . == "postgres-admin") | .data
  | .password, .token, .["key.pem"] | values | @base64d' | grep -v -e '-----' | grep -E '.{16}' | sort -u > "$state/secrets"
echo "$operator_password" >> "$state/secrets"
[ "$suite" = faults ] || [ "$(wc -l < "$state/secrets")" -gt 1 ] || fail "there was no secret to look for"
kubectl get events,localnodes,databaseservers,nodereports,nodecontents -A -o json > "$log/readable.log"
if leaks=$(grep -l -F -f "$state/secrets" "$log"/*.log); then fail "a secret stands in clear in: $leaks"; fi
finish

if [ "$suite" = faults ] || [ "$suite" = all ]; then
  for name in operator kube-controller-manager-integration kube-apiserver-integration etcd-integration; do stop "$name"; done
  api_server faults
  finish
  run_tests faults --test-threads 1 --show-output "$@"
fi
