#!/usr/bin/env bash
# Runs the Autobahn test suite against an echo behind the node's own wss listener code
# (edge/src/listen/echo_tests.rs). The last line is `N passed, N failed`.
#
# The suite exists for Python 2.7 only, which few machines still have: python2.sh finds or fetches
# one. The suite is installed once, into a folder outside the clone. Where that cannot be done, one
# line says why, and the status is 1 as it is when a case is not as it has to be.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
requirements=$root/tests/autobahn/requirements.txt
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sterna/autobahn-$(sha256sum "$requirements" | cut -c1-12)

give_up() {
    echo "cannot run tests/autobahn: $1" >&2
    exit 1
}

python=$(tests/autobahn/python2.sh 2>&1) || give_up "$python"
if [ ! -f "$cache/installed" ]; then
    rm -rf "$cache"
    mkdir -p "$cache"
    if ! "$python" -m pip install --disable-pip-version-check --target "$cache/site" \
        -r "$requirements" >"$cache/install.log" 2>&1; then
        give_up "the suite cannot be installed; see $cache/install.log"
    fi
    # Two packages share this name, and only folders of site-packages join them.
    touch "$cache/site/zope/__init__.py"
    touch "$cache/installed"
fi

port=${STERNA_ECHO_PORT:-9443}
work=$(mktemp -d)
log=$work/echo.log
[ -n "${ROCKSDB_LIB_DIR:-}" ] || eval "$(tools/rocksdb.sh --env)"
binary=$(cargo test --locked -p sterna-edge --lib --no-run --message-format=json 2>"$work/build.log" |
    python3 tests/autobahn/report.py binary) || { cat "$work/build.log" >&2; exit 1; }

# The echo ends with its standard input, however this script ends.
mkfifo "$work/stdin"
STERNA_ECHO_ADDRESS=127.0.0.1:$port "$binary" what_is_sent_through_the_listener_comes_back \
    --nocapture <"$work/stdin" >"$log" 2>&1 &
exec 3>"$work/stdin"
trap 'exec 3>&-; rm -rf "$work"' EXIT
for _ in $(seq 100); do
    grep -q "^echo on" "$log" && break
    sleep 0.1
done
grep -q "^echo on" "$log" || { cat "$log" >&2; exit 1; }

python3 tests/autobahn/report.py spec "$port" "$work" >"$work/spec.json"
cd "$work"
PYTHONPATH=$cache/site PYTHONDONTWRITEBYTECODE=1 timeout 600 "$python" -c '
import sys
sys.argv = ["wstest", "-m", "fuzzingclient", "-s", "spec.json"]
from autobahntestsuite.wstest import run
run()' >"$work/suite.log" 2>&1 || { tail -20 "$work/suite.log" >&2; exit 1; }
python3 "$root/tests/autobahn/report.py" result "$work/reports/index.json"
