#!/bin/sh
# Makes the Python environment in .venv from uv.lock, on a machine that has only Python and Debian's package manager.
# usage: scripts/bootstrap.sh [--tests]     --tests also brings what the tests use (development packages, ffmpeg, Chromium, …)
# Root is needed only for Debian packages, and only for those that are missing; each is named before it is installed.
set -eu
cd "$(dirname "$0")/.."

tests=no
[ "${1-}" = --tests ] && tests=yes
tool_dir="${XDG_CACHE_HOME:-$HOME/.cache}/appliance/uv"

say() { printf '%s\n' "bootstrap: $*" >&2; }

# debian_packages PACKAGE… installs what is missing; without root it prints the command and returns 1
debian_packages() {
    command -v dpkg-query >/dev/null || { say "not a Debian system; please install: $*"; return 1; }
    missing=""
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ]; then as_root=""; elif command -v sudo >/dev/null; then as_root=sudo; else
        say "these Debian packages need root: apt-get install -y$missing"
        return 1
    fi
    say "installing Debian packages (this is what root is needed for):$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # both are lists of words
    $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

find_uv() {
    if command -v uv >/dev/null; then command -v uv; return; fi
    if [ ! -x "$tool_dir/bin/uv" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || debian_packages python3-venv || exit 1
        say "installing uv into $tool_dir"
        python3 -m venv "$tool_dir" >&2
        "$tool_dir/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.9,<1' >&2
    fi
    echo "$tool_dir/bin/uv"
}

command -v python3 >/dev/null || debian_packages python3 || exit 1
uv=$(find_uv)
if [ "$tests" = yes ]; then
    # Debian starts a server of its own for slapd; the tests start theirs
    [ "$(id -u)" != 0 ] || echo "slapd slapd/no_configuration boolean true" | debconf-set-selections 2>/dev/null || true
    debian_packages ffmpeg espeak-ng strace chromium iproute2 mount procps util-linux slapd pebble libnss3-tools openssl \
        openssh-client zstd ||
        say "going on without them: tests that need one of these say so and are skipped"
    "$uv" sync --quiet --locked
elif [ ! -x .venv/bin/mypy ]; then  # leave a developer's environment as it is
    "$uv" sync --quiet --locked --no-dev
else
    "$uv" sync --quiet --locked
fi
