#!/usr/bin/env bash
# The tests of the pages that a node serves, in a real browser: installs what the lock files name, if that
# is not there, and closes on `N passed, N failed`. STERNA_BIN names the node's binary.
set -euo pipefail
cd "$(dirname "$0")/.."
for package in sdk/typescript console; do
    installed=$package/node_modules/.package-lock.json
    if [ ! "$installed" -nt $package/package-lock.json ]; then
        (cd $package && timeout 120 npm ci --no-audit --no-fund --loglevel=error >&2)
        touch "$installed"
    fi
done
cd console
exec npm test --silent
