#!/usr/bin/env bash
# Licences, bans and sources of dependencies, after deny.toml. `deny.sh --install` builds cargo-deny
# once, outside the clone; without it nothing is checked here and that is said (licences and sources
# are then still held by tests/system/tests/architecture.rs). Advisories need a database from the
# network and are checked when that can be had.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
cache=${STERNA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sterna}/cargo-deny-$version
PATH=$cache/bin:$PATH

if [ "${1:-}" = --install ]; then
    cargo deny --version >/dev/null 2>&1 && exit 0
    echo "building cargo-deny $version once into $cache" >&2
    log=$(mktemp)
    if ! cargo install cargo-deny --version "$version" --locked --root "$cache" >"$log" 2>&1; then
        tail -5 "$log" >&2
        echo "cargo-deny could not be built; its checks will be skipped" >&2
    fi
    rm -f "$log"
    exit 0
fi

if ! cargo deny --version >/dev/null 2>&1; then
    echo "skipped: cargo deny (not installed; tools/deny.sh --install)"
    exit 0
fi
cargo deny --log-level error check licenses bans sources
if ! cargo deny --log-level error fetch db >/dev/null 2>&1; then
    echo "skipped: cargo deny check advisories (no advisory database within reach)"
    exit 0
fi
cargo deny --log-level error check advisories
