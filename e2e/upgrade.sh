#!/usr/bin/env bash
# The release before is installed, with nodes live, and upgraded to this tree while people work.
# Usage: upgrade.sh [REVISION]; without one, the last tag.
source "$(dirname "$0")/cluster/lib.sh"
from=${1:-$(git -C "$root" describe --tags --abbrev=0 2>/dev/null)} \
  || fail "there is no release tag yet; name what to upgrade from: make upgrade-story FROM=<revision>"
commit=$(git -C "$root" rev-parse --verify --quiet "$from^{commit}") || fail "$from is no revision of this repository"
release=$cache/releases/$commit
if [ ! -d "$release" ]; then
  echo "building $from (once; kept in the cache)"
  tree=$(mktemp -d)
  trap 'git -C "$root" worktree remove --force "$tree" || true; rm -rf "$tree" "$release.building"' EXIT
  git -C "$root" worktree add --quiet --detach "$tree" "$commit"
  programs=$(unset CARGO_TARGET_DIR && "$tree/e2e/cluster/programs.sh")
  mkdir -p "$release.building/programs"
  cp "$programs"/{fateh-operator,fateh-hub,node-runtime,kubectl-fateh} "$release.building/programs/"
  cp -r "$tree/charts" "$release.building/"
  mv "$release.building" "$release"
fi
# Built before people are at work, who have tokens for ten minutes.
"$here/programs.sh" >/dev/null
FATEH_RELEASE=$release "$root/e2e/run.sh" an_upgrade_of_operator_hub_and_nodes
