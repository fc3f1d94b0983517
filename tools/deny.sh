#!/usr/bin/env bash
# Licences, bans and sources of dependencies, after deny.toml. Advisories need a database from the
# network and are checked when that can be had. Without cargo-deny it says so and checks nothing;
# licences are then still held by tests/system/tests/architecture.rs.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo deny --version >/dev/null 2>&1; then
    echo "skipped: cargo deny (not installed; cargo install cargo-deny)"
    exit 0
fi
cargo deny --log-level error check licenses bans sources
if ! cargo deny --log-level error fetch db >/dev/null 2>&1; then
    echo "skipped: cargo deny check advisories (no advisory database within reach)"
    exit 0
fi
cargo deny --log-level error check advisories
