#!/usr/bin/env bash
# Installs what building (`setup.sh build`), a cluster on this machine (`setup.sh cluster`) or
# testing (`setup.sh test`) needs and is missing.
# Asks nothing: with root or passwordless sudo on a Debian-like system it installs, elsewhere it
# names what to install and ends with status 1. Quiet when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-build}
minimum_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
# Where Debian has servers; not everybody looks there.
PATH=$PATH:/usr/sbin
[ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH

fail() {
    printf 'sterna: %s\n' "$@" >&2
    exit 1
}

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    # A subshell without pipefail: grep closing early must not count as a failure. libclang-cpp,
    # which comes with other packages, is another library.
    (set +o pipefail; ldconfig -p 2>/dev/null | grep -Eq 'libclang(-[0-9.]+)?\.so') && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null ||
        compgen -G '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' >/dev/null
}

node_is_new_enough() {
    local version
    version=$(node --version 2>/dev/null) || return 1
    version=${version#v}
    [ "${version%%.*}" -ge 20 ]
}

missing_packages() {
    command -v cc >/dev/null || echo gcc
    command -v g++ >/dev/null || echo g++
    command -v python3 >/dev/null || echo python3
    has_libclang || echo libclang-dev
    if [ "$purpose" != build ]; then
        # The servers behind a cluster, here and in tests, which start their own.
        command -v mariadbd >/dev/null || echo mariadb-server
        command -v redis-server >/dev/null || echo redis-server
        command -v openssl >/dev/null || echo openssl
    fi
    if [ "$purpose" = test ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
        # The disk tests make syncs fail with it.
        command -v strace >/dev/null || echo strace
        # The clock tests set a node's clock with its library.
        command -v faketime >/dev/null || echo faketime
        # Clients are carried through them, never as services.
        command -v haproxy >/dev/null || echo haproxy
        command -v nginx >/dev/null || echo nginx-light
        [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || echo libnginx-mod-stream
        # A real browser is among the clients.
        command -v chromium >/dev/null || echo chromium
        command -v firefox-esr >/dev/null || echo firefox-esr
        # So is one that speaks HTTP/3 alone.
        command -v gtlsclient >/dev/null || echo ngtcp2-client
        # The TypeScript client is built and tested with them.
        node_is_new_enough || echo nodejs
        command -v npm >/dev/null || echo npm
        # Instructions are counted with it.
        command -v valgrind >/dev/null || echo valgrind
    fi
}

install_packages() {
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        if ! { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; then
            fail "these packages are missing: $*" "install them, for example: sudo apt-get install $*"
        fi
        sudo=(sudo -n)
    fi
    command -v apt-get >/dev/null ||
        fail "install the equivalents of these Debian packages: $*"
    echo "installing $*" >&2
    local log
    log=$(mktemp)
    # RUNLEVEL=1: nothing is started.
    if ! { "${sudo[@]}" apt-get update -qq &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "apt-get could not install: $*"
    fi
    rm -f "$log"
}

install_rust() {
    local rustup='curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt -c clippy'
    echo "installing Rust with rustup" >&2
    command -v curl >/dev/null || install_packages curl ca-certificates
    bash -o pipefail -c "$rustup" >&2 ||
        fail "Rust $minimum_rust or newer is missing and could not be installed; get it with:" "  $rustup"
}

rust_is_new_enough() {
    local version
    version=$(rustc --version | awk '{ print $2 }')
    [ "$(printf '%s\n%s\n' "$minimum_rust" "$version" | sort -V | head -1)" = "$minimum_rust" ]
}

mapfile -t packages < <(missing_packages)
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
command -v cargo >/dev/null || install_rust
command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
rust_is_new_enough ||
    fail "Rust $minimum_rust or newer is needed, $(rustc --version) is here; run: rustup update stable"
if [ "$purpose" = test ]; then
    tests/interop/setup.sh
    # The archive is tried with a real S3 server.
    tests/engines/s3.sh >/dev/null
    tools/deny.sh --install
fi
