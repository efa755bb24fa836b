#!/usr/bin/env bash
# Stops a PostgreSQL server of the integration environment at once, as a crash would, and starts it again.
# Usage: tests/restart-postgres.sh STATE NAME PORT [SECONDS]; STATE is the environment's directory, SECONDS is how long
# the server is away at least
source "$(dirname "$0")/../e2e/cluster/lib.sh"
state=$1 name=$2 port=$3
run=$state/run log=$state/log
read -r pid _ < "$run/$name.pid"
running "$name" || fail "$name does not run"
kill -QUIT "$pid"
deadline=$((SECONDS + 20))
while running "$name"; do
  [ $SECONDS -lt $deadline ] || fail "$name did not stop"
  sleep 0.02
done
sleep "${4:-0}"
eval "start $name $(cat "$run/$name.command")"
await 30 "$name" "$postgres_bin/psql" -h "$state/$name.socket" -p "$port" -U postgres -d postgres -c 'SELECT 1'
