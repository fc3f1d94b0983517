#!/usr/bin/env bash
# Runs nodes of an earlier release beside those of this tree (tests/system/tests/skew.rs). REF names
# the release, a tag or any commit; without it the newest tag before this commit. What it builds of
# that is kept in the cache outside the clone, by its commit.
set -euo pipefail
cd "$(dirname "$0")/.."
ref=${REF:-$(git describe --tags --abbrev=0 'HEAD^' 2>/dev/null || true)}
if [ -z "$ref" ]; then
    echo "there is no release before this one; name a commit: make test-skew REF=HEAD~80" >&2
    exit 2
fi
commit=$(git rev-parse --verify --quiet "$ref^{commit}") || {
    echo "$ref is no commit" >&2
    exit 2
}
cache=${STERNA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sterna}/releases
old=$cache/$commit/sterna
mkdir -p "$cache/$commit"
# One at a time: they share what is compiled of dependencies.
exec 9>"$cache/lock"
flock 9
if [ ! -x "$old" ]; then
    echo "building $ref ($commit) once into $cache" >&2
    rm -rf "$cache/tree"
    mkdir "$cache/tree"
    git archive "$commit" | tar -x -C "$cache/tree"
    (
        cd "$cache/tree"
        eval "$(tools/rocksdb.sh --env)"
        CARGO_TARGET_DIR=$cache/target cargo build --locked -p sterna
    )
    cp "$cache/target/debug/sterna" "$old.new"
    mv "$old.new" "$old"
    rm -rf "$cache/tree"
fi
exec 9>&-
[ -n "${ROCKSDB_LIB_DIR:-}" ] || eval "$(tools/rocksdb.sh --env)"
cargo build --quiet --locked -p sterna
new=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sterna")
echo "$("$old" --version) of $(git log -1 --format='%h, %cs' "$commit") beside $("$new" --version)"
STERNA_BIN=$new STERNA_OLD_BIN=$old RUST_BACKTRACE=1 exec cargo test --locked \
    -p sterna-system-tests --features skew --test skew -- --nocapture --test-threads 1 "$@"
