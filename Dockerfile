# One image of each program: docker build --build-arg PROGRAM=fateh-operator -t … .
# (fateh-operator, node-runtime or fateh-hub). Static, so that the image holds one file and nothing else.
FROM rust:1.95-bookworm AS build
ARG PROGRAM
WORKDIR /src
COPY . .
# Paths of the machine that builds stand in messages of panics, and would make every build another.
ENV RUSTFLAGS="-C target-feature=+crt-static -C linker=layout/linker.sh -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=/usr/local/cargo=/cargo"
# All that is built together elsewhere, so that functions have the names that layout/ knows them by.
RUN cargo build --locked --profile image --target x86_64-unknown-linux-gnu --bin "$PROGRAM" \
      -p fateh-operator -p fateh-node-runtime -p fateh-hub -p kubectl-fateh \
 && install -D "target/x86_64-unknown-linux-gnu/image/$PROGRAM" "/image/$PROGRAM" \
 && ln -s "/$PROGRAM" /image/entrypoint

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
ENTRYPOINT ["/entrypoint"]
