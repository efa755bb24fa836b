#!/usr/bin/env bash
# Installs the Debian packages that are needed and missing, or names them in one message.
# Usage: packages.sh [tests|monitoring|gitops]: those of the local cluster, of the integration tests, of the tests of alerts, or of Argo CD.
source "$(dirname "$0")/lib.sh"

# package:program or file that it brings
needs="containerd:containerd runc:runc containernetworking-plugins:/usr/lib/cni/bridge conntrack:conntrack nftables:nft
iproute2:ip procps:pgrep openssl:openssl curl:curl jq:jq postgresql-15:$postgres_bin/initdb"
[ "${1:-}" != tests ] || needs="openssl:openssl curl:curl postgresql-15:$postgres_bin/initdb
maven:mvn unzip:unzip xz-utils:xz python3-minimal:python3"
[ "${1:-}" != gitops ] || needs="redis-server:redis-server git:git jq:jq"
[ "${1:-}" != monitoring ] || needs="prometheus:promtool jq:jq"
missing=()
for need in $needs; do
  command -v "${need#*:}" >/dev/null || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  fail "these Debian packages are missing: ${missing[*]}; install them as root with: apt-get install ${missing[*]}"
fi
echo "installing Debian packages: ${missing[*]}"
# The programs are wanted, not the services that come with them.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  mkdir -p /etc/postgresql-common
  echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
fi
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
