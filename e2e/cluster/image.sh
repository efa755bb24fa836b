#!/usr/bin/env bash
# Makes an image of one static binary, without Docker or a registry, and imports it into the
# cluster's containerd. Prints the reference: NAME:<digest of the contents>, so a tag never moves.
# Usage: image.sh NAME BINARY [TAG]
source "$(dirname "$0")/lib.sh"
name=$1 binary=$2
tag=${3:-$(sha256sum "$binary" | cut -c1-12)}
reference=$name:$tag
if [ -n "$(ctr images list -q name=="$reference")" ]; then
  echo "$reference"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program=$(basename "$name")
mkdir -p "$work/layer"
install -m 755 "$binary" "$work/layer/$program"
tar -C "$work/layer" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/layer.tar" .
jq -cn --arg diff "sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)" --arg program "/$program" '{
  architecture: "amd64", os: "linux", created: "1970-01-01T00:00:00Z",
  config: {Entrypoint: [$program], User: "65532:65532"}, rootfs: {type: "layers", diff_ids: [$diff]}
}' > "$work/config.json"
jq -cn --arg ref "$reference" '[{Config: "config.json", RepoTags: [$ref], Layers: ["layer.tar"]}]' > "$work/manifest.json"
tar -C "$work" -cf "$work/image.tar" manifest.json config.json layer.tar
ctr images import "$work/image.tar" >/dev/null
echo "$reference"
