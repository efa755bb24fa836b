#!/usr/bin/env bash
# Makes an image of one static binary and imports it into the local cluster's containerd, without a registry.
# Prints the reference: NAME:<digest of the contents>, so a tag never moves.
# Usage: image.sh NAME BINARY [TAG]
source "$(dirname "$0")/lib.sh"
name=$1 binary=$2
tag=${3:-$(sha256sum "$binary" | cut -c1-12)}
reference=$name:$tag
if [ -z "$(ctr images list -q name=="$reference")" ]; then
  archive=$(mktemp)
  trap 'rm -f "$archive"' EXIT
  "$here/archive.sh" "$reference" "$binary" "$archive"
  ctr images import "$archive" >/dev/null
fi
echo "$reference"
