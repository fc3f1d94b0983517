#!/usr/bin/env bash
# Prints a Python 2.7 with pip, for tests/autobahn alone: PYTHON2, the PATH and pyenv are looked at,
# else the packages of Debian 11, the last release that had one, are unpacked into a folder outside
# the clone. They come from the mirror that this machine's apt uses, checked by its keyring; nothing
# is installed. Status 1 where there is neither, and a line that says so. (`--debian`: the latter.)
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sterna/python2.7-debian11
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
packages=(python2.7 python2.7-minimal libpython2.7 libpython2.7-minimal libpython2.7-stdlib
    libpython2.7-dev libssl1.1 libffi7)
# The last of each that know Python 2.
tools=(pip==20.3.4 setuptools==44.1.1 wheel==0.37.1)

find_python() {
    local candidate
    for candidate in "${PYTHON2:-}" python2.7 python2 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys, pip; assert sys.version_info[:2] == (2, 7)' \
            >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# Into the current folder.
unpack() {
    local mirror libraries
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sort -u |
        head -1)
    [ -n "$mirror" ] && [ -f "$keyring" ] || return 1
    mkdir -p apt/lists/partial apt/cache/archives/partial debs
    chmod 755 . debs
    echo "deb [signed-by=$keyring] $mirror bullseye main" >apt/sources.list
    local apt=(apt-get -q -o "Dir::Etc::sourcelist=$PWD/apt/sources.list"
        -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$PWD/apt/lists"
        -o "Dir::Cache=$PWD/apt/cache" -o Acquire::Languages=none)
    "${apt[@]}" update
    (cd debs && "${apt[@]}" download "${packages[@]}")
    local package
    for package in debs/*.deb; do dpkg-deb -x "$package" tree; done
    rm -rf apt debs
    libraries=$(dirname "$(find "$PWD/tree/usr/lib" -name 'libssl.so.1.1')")
    cat >python2.7 <<END
#!/bin/sh
export PYTHONHOME='$cache/tree/usr' PYTHONDONTWRITEBYTECODE=1
export CPATH='$cache/tree/usr/include' LD_LIBRARY_PATH='${libraries/$PWD/$cache}'
exec '$cache/tree/usr/bin/python2.7' "\$@"
END
    chmod +x python2.7
    python3 -m pip download --no-deps --dest wheels "${tools[@]}"
}

from_debian() {
    if [ ! -f "$cache/ready" ]; then
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
        rm -rf "$cache"
        mkdir -p "$cache"
        (cd "$cache" && unpack >"$cache/log" 2>&1) || return 1
        "$cache/python2.7" "$(echo "$cache"/wheels/pip-*.whl)/pip" install --no-index --no-deps \
            --target "$cache/tree/usr/lib/python2.7/dist-packages" "$cache"/wheels/*.whl \
            >>"$cache/log" 2>&1 || return 1
        touch "$cache/ready"
    fi
    echo "$cache/python2.7"
}

[ "${1:-}" = --debian ] || { find_python && exit; }
from_debian || {
    echo "no Python 2.7 with pip, and none to be had from Debian 11 (see $cache/log); name one with PYTHON2" >&2
    exit 1
}
