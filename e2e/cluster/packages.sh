#!/usr/bin/env bash
# Installs the Debian packages the local cluster stands on, or names those that are missing.
source "$(dirname "$0")/lib.sh"

# package:file that it brings
needs="containerd:/usr/bin/containerd runc:/usr/sbin/runc containernetworking-plugins:/usr/lib/cni/bridge
conntrack:/usr/sbin/conntrack nftables:/usr/sbin/nft iproute2:/usr/sbin/ip openssl:/usr/bin/openssl
curl:/usr/bin/curl jq:/usr/bin/jq maven:/usr/bin/mvn unzip:/usr/bin/unzip xz-utils:/usr/bin/xz
postgresql-15:$postgres_bin/initdb"
missing=()
for need in $needs; do
  [ -e "${need#*:}" ] || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  fail "these Debian packages are missing: ${missing[*]}; install them as root with: apt-get install ${missing[*]}"
fi
echo "installing Debian packages: ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
