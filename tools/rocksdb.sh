#!/usr/bin/env bash
# Builds librocksdb.a once from the sources that the librocksdb-sys crate vendors, as a unity
# build (about 4 minutes on 2 cores instead of 20), and keeps it outside the clone so that every
# profile and every clone links the same archive. Prints the directory that holds it.
#
#   eval "$(tools/rocksdb.sh --env)"   sets ROCKSDB_LIB_DIR and ROCKSDB_STATIC for cargo
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
unit_files=24

crate_dir() { # newest vendored source directory of crate $1
    cargo metadata --manifest-path "$root/Cargo.toml" --format-version 1 --locked 2>/dev/null |
        python3 -c 'import json,sys,os
name=sys.argv[1]
print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"]==name))' "$1"
}

sys=$(crate_dir librocksdb-sys)
version=$(basename "$sys" | sed 's/^librocksdb-sys-//')
cache=${STERNA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sterna}/rocksdb-$version-$(uname -m)-O2
archive=$cache/librocksdb.a

build() {
    local lz4 zstd jobs
    lz4=$(crate_dir lz4-sys)/liblz4/lib
    zstd=$(crate_dir zstd-sys)/zstd/lib
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    jobs=$(nproc 2>/dev/null || echo 2)
    # One translation unit per at most $unit_files files of one directory: static names of
    # different directories never meet.
    python3 - "$sys" "$work" "$unit_files" <<'PY'
import collections, os, sys
root, work, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
groups = collections.defaultdict(list)
for line in open(os.path.join(root, "rocksdb_lib_sources.txt")):
    name = line.strip()
    if name and name != "util/build_version.cc":
        groups[os.path.dirname(name)].append(os.path.join(root, "rocksdb", name))
groups["version"] = [os.path.join(root, "build_version.cc")]
for directory, files in sorted(groups.items()):
    for at in range(0, len(files), size):
        unit = os.path.join(work, f"{directory.replace('/', '_')}_{at // size}.cc")
        with open(unit, "w") as out:
            out.writelines(f'#include "{f}"\n' for f in files[at:at + size])
PY
    local flags=(-std=c++20 -O2 -fPIC -w -include cstdint
        -DNDEBUG=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION -DLZ4=1 -DZSTD=1
        -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SUPPORT_THREAD_LOCAL
        -DROCKSDB_SCHED_GETCPU_PRESENT -DROCKSDB_AUXV_GETAUXVAL_PRESENT
        -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT
        -I"$sys/rocksdb/include" -I"$sys/rocksdb" -I"$sys" -I"$lz4" -I"$zstd"
        -I"$sys/rocksdb/third-party/gtest-1.8.1/fused-src")
    if [ "$(uname -m)" = x86_64 ]; then flags+=(-msse4.2); fi
    local total done_file
    total=$(ls "$work"/*.cc | wc -l)
    done_file=$work/done; : >"$done_file"
    echo "building RocksDB $version once ($total units, $jobs jobs) into $cache" >&2
    export done_file total
    printf '%s\0' "$work"/*.cc | xargs -0 -P "$jobs" -I{} bash -c '
        unit=$1; shift
        "${CXX:-g++}" "$@" -c "$unit" -o "${unit%.cc}.o" || exit 255
        echo >>"$done_file"; printf "\r  %s of %s units" "$(wc -l <"$done_file")" "$total" >&2
    ' _ {} "${flags[@]}"
    echo >&2
    ar crs "$work/librocksdb.a" "$work"/*.o
    mv "$work/librocksdb.a" "$archive"
}

[ -f "$archive" ] || build
if [ "${1:-}" = --env ]; then
    echo "export ROCKSDB_LIB_DIR='$cache' ROCKSDB_STATIC=1"
else
    echo "$cache"
fi
