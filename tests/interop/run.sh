#!/usr/bin/env bash
# Runs the clients of this folder against the binary STERNA_BIN (default: the debug build). The last
# line is `N passed, N failed`. quiche takes part when it has been built (quiche.sh, make interop).
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/interop/setup.sh
export STERNA_BIN=${STERNA_BIN:-$PWD/target/debug/sterna}
QUICHE_BIN=$(tests/interop/quiche.sh --if-built)
export QUICHE_BIN
export PYTHONPATH=$PWD/tests/.venv/generated:$PWD/tests/interop PYTHONDONTWRITEBYTECODE=1
exec tests/.venv/bin/python tests/interop/run.py "$@"
