#!/usr/bin/env bash
# Runs the fault campaign (tests/faults): the scenarios named, or all of them, for ROUNDS rounds or
# MINUTES minutes, with faults drawn from SEED (the time, when there is none). Ends with a table.
set -euo pipefail
cd "$(dirname "$0")/.."
arguments=(--rounds "${ROUNDS:-1000}" --minutes "${MINUTES:-18}")
[ -z "${SEED:-}" ] || arguments+=(--seed "$SEED")
for scenario in "$@"; do
    arguments+=(--scenario "$scenario")
done
# Floods hold thousands of connections open.
ulimit -n "$(ulimit -H -n)"
[ -n "${ROCKSDB_LIB_DIR:-}" ] || eval "$(tools/rocksdb.sh --env)"
cargo build --quiet --locked -p sterna -p sterna-faults
target=${CARGO_TARGET_DIR:-target}
STERNA_BIN=$(realpath "$target/debug/sterna") RUST_BACKTRACE=0 \
    exec "$target/debug/sterna-faults" "${arguments[@]}"
