#!/usr/bin/env bash
# PostgreSQL for the local cluster: an external server to the operator, reached over TLS.
# Hardened as docs/postgres.md asks an administrator to do, and made known to the operator by
# the Secret `postgres-admin` in its namespace.
source "$(dirname "$0")/lib.sh"
data=$state/postgres
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
psql() { as_postgres "$postgres_bin/psql" -h "$run/postgres" -U postgres -d postgres -v ON_ERROR_STOP=1 -qAt "$@"; }

if [ ! -e "$data/PG_VERSION" ]; then
  install -d -o postgres -g postgres -m 700 "$data"
  as_postgres "$postgres_bin/initdb" -D "$data" -U postgres --auth-local peer --auth-host scram-sha-256 \
    --encoding UTF8 --locale C.UTF-8 --no-sync >/dev/null
  cat >> "$data/pg_hba.conf" <<HBA
local all postgres trust
hostssl all all 0.0.0.0/0 scram-sha-256
HBA
  sed -i '/^local .*peer/d; /^host /d' "$data/pg_hba.conf"
fi
install -d -o postgres -g postgres "$run/postgres"
install -o postgres -g postgres -m 600 "$pki/postgres.key" "$data/server.key"
install -o postgres -g postgres -m 644 "$pki/postgres.crt" "$data/server.crt"
# No fsync: the data lives as long as the demo.
start postgres setpriv --reuid postgres --regid postgres --clear-groups "$postgres_bin/postgres" -D "$data" \
  -c listen_addresses="$node_ip" -c unix_socket_directories="$run/postgres" -c max_connections=500 \
  -c ssl=on -c ssl_cert_file=server.crt -c ssl_key_file=server.key -c fsync=off -c shared_buffers=256MB \
  -c password_encryption=scram-sha-256
await 30 PostgreSQL psql -c 'SELECT 1'

kubectl get namespace fateh-system >/dev/null 2>&1 || kubectl create namespace fateh-system >/dev/null
if ! kubectl get secret postgres-admin -n fateh-system >/dev/null 2>&1; then
  password=$(openssl rand -hex 24)
  psql <<SQL
SELECT 'CREATE ROLE fateh_operator' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fateh_operator') \gexec
ALTER ROLE fateh_operator LOGIN CREATEDB CREATEROLE NOSUPERUSER PASSWORD '$password';
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO fateh_operator;
GRANT SET ON PARAMETER temp_file_limit TO fateh_operator;
SQL
  kubectl create secret generic postgres-admin -n fateh-system \
    --from-literal=username=fateh_operator --from-file=password=/dev/stdin <<< "$password" >/dev/null
fi
kubectl create secret generic postgres-ca -n fateh-system --from-file=ca.crt="$pki/local.crt" --dry-run=client -o yaml \
  | kubectl apply -f - >/dev/null
