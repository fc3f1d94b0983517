#!/usr/bin/env bash
# Prints the path of an S3 server for tests, s3s-fs, and installs it first where it is missing: into
# a cache outside the clone, by its version, so that it is built once (a minute).
set -euo pipefail
version=0.14.1
cache=${STERNA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sterna}
root=$cache/s3s-fs-$version
server=$root/bin/s3s-fs
if [ ! -x "$server" ]; then
    mkdir -p "$root"
    echo "installing s3s-fs $version once into $root" >&2
    # One at a time: tests of several crates may ask at once.
    exec 9>"$root/lock"
    flock 9
    # Unoptimised: it is built for tests, and what they send is little.
    [ -x "$server" ] || CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$root/target cargo install \
        --quiet --locked --debug --root "$root" --features binary --version "$version" s3s-fs >&2
    rm -rf "$root/target"
fi
echo "$server"
