#!/usr/bin/env bash
# Builds the client of quiche/ into the cache outside the clone (some minutes, once) and prints its
# path. With --if-built it builds nothing and prints nothing when it is not there.
set -euo pipefail
cd "$(dirname "$0")/quiche"
wanted=$(cat Cargo.toml Cargo.lock src/main.rs | sha256sum | cut -c1-16)
cache=${STERNA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sterna}/interop-quiche-$(uname -m)
binary=$cache/$wanted
if [ ! -x "$binary" ]; then
    [ "${1:-}" = --if-built ] && exit 0
    if ! command -v cmake >/dev/null; then
        echo "sterna: quiche brings BoringSSL, which is built with cmake: apt-get install cmake" >&2
        exit 1
    fi
    echo "building quiche once into $cache" >&2
    CARGO_TARGET_DIR=$cache/target cargo build --locked >&2
    cp "$cache/target/debug/sterna-interop-quiche" "$binary"
fi
echo "$binary"
