#!/usr/bin/env bash
# Checks licences, sources and banned crates. Advisories need a database that only a network with
# more than package registries has; run `cargo deny check advisories` where that is so.
source "$(dirname "$0")/../e2e/cluster/lib.sh"
version=0.20.2
deny=$cache/cargo-deny-$version/bin/cargo-deny
if [ ! -x "$deny" ]; then
  echo "building cargo-deny $version (once; kept in the cache)"
  cargo install --quiet --locked --version "$version" --root "$cache/cargo-deny-$version" cargo-deny
fi
cd "$root" && "$deny" --locked --all-features check bans licenses sources
