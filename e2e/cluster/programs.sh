#!/usr/bin/env bash
# Builds the programs as they go into images, and kubectl's plugin, and prints their directory.
# Static, so that an image holds one file and nothing else, and the plugin runs anywhere.
source "$(dirname "$0")/lib.sh"
target=x86_64-unknown-linux-gnu
# Build scripts look at what cargo tells of the test that a build is begun from, and would begin anew.
unset $(compgen -e | grep -E '^CARGO_(PKG_|MANIFEST_|CRATE_NAME|PRIMARY_PACKAGE)')
# Paths of the machine that builds would stand in messages of panics, and make each machine's build another.
# The v0 names of functions say all their types, so that layout/ finds them again when their hashes have changed.
flags="-C target-feature=+crt-static -C symbol-mangling-version=v0 -C linker=layout/linker.sh -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$root=/src"
(cd "$root" && RUSTFLAGS=$flags \
  cargo build --quiet --locked --profile image --target "$target" \
  -p fateh-operator -p fateh-node-runtime -p fateh-hub -p kubectl-fateh) >&2
echo "${CARGO_TARGET_DIR:-$root/target}/$target/image"
