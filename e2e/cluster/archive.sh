#!/usr/bin/env bash
# Writes an image of one static binary to a file, without a container engine; two of the same binary are the same.
# Usage: archive.sh REFERENCE BINARY FILE
source "$(dirname "$0")/lib.sh"
reference=$1 binary=$2 file=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program=$(basename "${reference%:*}")
mkdir -p "$work/layer"
install -m 755 "$binary" "$work/layer/$program"
tar -C "$work/layer" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/layer.tar" .
jq -cn --arg diff "sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)" --arg program "/$program" '{
  architecture: "amd64", os: "linux", created: "1970-01-01T00:00:00Z",
  config: {Entrypoint: [$program], User: "65532:65532"}, rootfs: {type: "layers", diff_ids: [$diff]}
}' > "$work/config.json"
jq -cn --arg ref "$reference" '[{Config: "config.json", RepoTags: [$ref], Layers: ["layer.tar"]}]' > "$work/manifest.json"
tar -C "$work" -cf "$file" manifest.json config.json layer.tar
