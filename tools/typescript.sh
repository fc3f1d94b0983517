#!/usr/bin/env bash
# The tests of the TypeScript client: installs what its lock file names, if that is not there, and closes
# on `N passed, N failed`. STERNA_BIN names the node's binary.
set -euo pipefail
cd "$(dirname "$0")/../sdk/typescript"
installed=node_modules/.package-lock.json
if [ ! "$installed" -nt package-lock.json ]; then
    timeout 120 npm ci --no-audit --no-fund --loglevel=error >&2
    touch "$installed"
fi
exec npm test --silent
