#!/usr/bin/env bash
# Makes tests/.venv with the pinned requirements and the protobuf code of the wire. Does nothing
# when it is current.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=tests/.venv
stamp=$venv/current
wanted=$(cat tests/interop/requirements.txt proto/sterna/v1/client.proto | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0
echo "preparing tests/.venv" >&2
rm -rf "$venv"
python3 -m venv "$venv"
log=$venv/setup.log
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -r tests/interop/requirements.txt >"$log" 2>&1; then
    cat "$log" >&2
    echo "sterna: the clients of tests/interop/requirements.txt could not be installed" >&2
    exit 1
fi
mkdir -p "$venv/generated"
"$venv/bin/python" -m grpc_tools.protoc -Iproto --python_out="$venv/generated" \
    proto/sterna/v1/client.proto
printf '%s\n' "$wanted" >"$stamp"
