#!/usr/bin/env bash
# Builds the programs a second time, in another place and from nothing, and holds both to be the same to the last bit,
# and to say nothing of where they were built. An image is one of them and nothing else, with no time of its own.
source "$(dirname "$0")/../e2e/cluster/lib.sh"
first=$("$here/programs.sh")
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
git -C "$root" ls-files -z --cached --others --exclude-standard | tar -C "$root" --null -T - -c | tar -x -C "$elsewhere"
second=$(CARGO_TARGET_DIR=$elsewhere/target "$elsewhere/e2e/cluster/programs.sh")
for program in fateh-operator node-runtime fateh-hub kubectl-fateh; do
  cmp "$first/$program" "$second/$program" || fail "two builds of $program differ"
  ! grep -q -F -e "$root/" -e "$HOME/" "$first/$program" || fail "$program names a path of the machine that built it"
done
echo "four programs, each the same from two builds, with no path of this machine in them"
