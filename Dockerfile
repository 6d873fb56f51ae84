# The image of operator, storage node and command: static binaries, and nothing else. `make image` makes the same without Docker.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    if [ "$(uname -m)" = x86_64 ]; then signatures='--cfg curve25519_dalek_backend="avx512"'; else export JEMALLOC_SYS_WITH_LG_PAGE=16; fi \
 && RUSTFLAGS="-C target-feature=+crt-static ${signatures-}" CARGO_TARGET_DIR=/target cargo build --release --locked \
      --target "$(rustc -vV | sed -n 's/^host: //p')" \
      --package weft-operator --package weft-node --package weft-client --bins \
 && mkdir -p /image/bin /image/tmp && chmod 1777 /image/tmp \
 && cp /target/*/release/weft-operator /target/*/release/weft-node /target/*/release/weft /image/bin/

FROM scratch
COPY --from=build /image /
# The second as make image says it.
ENV PATH=/bin GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1048576
# Nobody in particular: the chart and the operator ask for the same.
USER 65532:65532
