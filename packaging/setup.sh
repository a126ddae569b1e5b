#!/bin/sh
# Makes .venv with everything in requirements-dev.lock and the project itself. Called by the Makefile.
#
# Decides: which Python, how to get a virtual environment out of a bare machine, when a set-up is done.
# Refuses to know: where packages come from (pip's own configuration says), and what is run afterwards.
#
# It asks for no more than sh and a Python; Debian's has neither pip nor ensurepip. As root it installs
# what is missing with apt-get; otherwise it says what to install and exits with 2.
# What only the tests of routers need is installed as root, too; else it is named and done without.
# ROOKERY_PYTHON names the interpreter to use; ROOKERY_NO_APT=1 forbids apt-get.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
venv=.venv
stamp=$venv/.installed
lock=requirements-dev.lock
state=.make
# The same as requires-python in pyproject.toml.
oldest=3.11
# Plain python3 first: it is what its owner chose. The others serve where it is too old or too bare.
candidates="python3 python3.13 python3.12 python3.11"

say() { printf 'set-up: %s\n' "$*" >&2; }

give_up() {
    say "$1"
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 2
}

# A Python is fit when it is new enough and has the parts of the standard library that Debian's
# python3-minimal leaves out.
fit() {
    "$1" -c 'import sys; sys.exit(sys.version_info < tuple(map(int, sys.argv[1].split("."))))' "$oldest" \
        >/dev/null 2>&1 && "$1" -c 'import ctypes, sqlite3, ssl, venv, zlib' >/dev/null 2>&1
}

find_python() {
    if [ -n "${ROOKERY_PYTHON:-}" ]; then
        fit "$ROOKERY_PYTHON" && { command -v "$ROOKERY_PYTHON"; return 0; }
        give_up "ROOKERY_PYTHON is '$ROOKERY_PYTHON', which is no complete Python $oldest or newer." \
            "Name another, or unset it to have one looked for."
    fi
    for candidate in $candidates; do
        if fit "$candidate"; then command -v "$candidate"; return 0; fi
    done
    return 1
}

may_apt() {
    [ -z "${ROOKERY_NO_APT:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

apt_try() {
    say "installing with apt-get: $*"
    mkdir -p "$state"
    log=$state/apt.log
    { apt-get update && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@"; } </dev/null >"$log" 2>&1
}

apt_install() {
    if ! apt_try "$@"; then
        tail -n 20 "$log" >&2
        give_up "apt-get could not install: $* (its last lines are above, all of them in $log)."
    fi
}

# Debian's packages with the tools of the laboratory (tests/natlab: routers, and mDNS by Avahi) that this machine lacks; Linux only.
missing_lab_tools() {
    [ -e /proc/self/ns/net ] || return 0
    for pair in ip:iproute2 nft:nftables conntrack:conntrack avahi-daemon:avahi-daemon avahi-browse:avahi-utils \
        dbus-daemon:dbus-daemon; do
        (PATH=$PATH:/usr/sbin:/sbin && command -v "${pair%%:*}" >/dev/null 2>&1) || printf '%s ' "${pair#*:}"
    done
}

# Nobody goes without the rest for want of these: the tests that need them say so.
install_lab_tools() {
    missing=$(missing_lab_tools)
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086  # One word a package.
    if may_apt && apt_try $missing; then return 0; fi
    say "missing for make natlab and the tests of routers: $missing(sudo apt-get install $missing)"
}

has_ensurepip() { "$1" -c 'import ensurepip' >/dev/null 2>&1; }

# The package that completes the interpreter $1. A Python not from Debian's packages gets nothing from them.
venv_package() {
    real=$("$1" -c 'import os, sys; print(os.path.realpath(sys.executable))')
    case $real in
        /usr/bin/python3.*) printf '%s-venv\n' "${real##*/}" ;;
        *) return 1 ;;
    esac
}

make_venv() {
    python=$1
    say "making $venv with $("$python" -V) ($python)"
    if ! has_ensurepip "$python" && may_apt && package=$(venv_package "$python"); then
        apt_install "$package"
    fi
    if has_ensurepip "$python"; then
        "$python" -m venv $venv
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv --quiet $venv
    elif "$python" -m pip --version >/dev/null 2>&1; then
        say "this Python lacks ensurepip; fetching virtualenv with its pip"
        "$python" -m pip install --quiet --target "$state/virtualenv" --upgrade virtualenv
        PYTHONPATH=$state/virtualenv "$python" -m virtualenv --quiet $venv
    elif command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --allow-existing --python "$python" $venv
    else
        give_up "$python has neither ensurepip nor pip, so no virtual environment can be made with it." \
            "On Debian or Ubuntu:  sudo apt-get install $(venv_package "$python" || echo python3-venv)" \
            "Elsewhere: install pip or virtualenv for it, or set ROOKERY_PYTHON to a Python that has them." \
            "Then run make again."
    fi
}

venv_works() { fit $venv/bin/python && $venv/bin/python -m pip --version >/dev/null 2>&1; }

up_to_date() {
    [ -f $stamp ] && [ "$(cat $stamp)" = "$root" ] || return 1
    for input in pyproject.toml $lock packaging/setup.sh; do
        [ -z "$(find "$input" -newer $stamp)" ] || return 1
    done
    venv_works
}

mkdir -p $state
# Two makes at once would install over each other. macOS has no flock; there it is on who types.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$state/setup.lock"
    flock -n 9 || { say "waiting for another set-up in this folder"; flock 9; }
fi
up_to_date && exit 0
install_lab_tools

if ! venv_works; then
    # An interpreter that was taken away or is too old cannot be in use: start over.
    if [ -e $venv ] && ! fit $venv/bin/python; then
        say "$venv holds no usable Python $oldest or newer; making it anew"
        rm -rf $venv
    fi
    if ! python=$(find_python); then
        may_apt && apt_install python3 python3-venv
        python=$(find_python) || give_up "no complete Python $oldest or newer was found (looked for: $candidates)." \
            "On Debian 12, Ubuntu 24.04 or newer:  sudo apt-get install python3 python3-venv" \
            "Elsewhere: install one, or set ROOKERY_PYTHON to its path. Then run make again."
    fi
    make_venv "$python"
fi

say "installing the pinned packages of $lock (the first time this takes about a minute)"
# The lock is complete, the build backend included. Without --no-deps older pips look for the newest release of what
# is asked for with an extra (coverage[toml]) beside the pinned one, and refuse it.
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $lock
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
printf '%s\n' "$root" >$stamp
say "done"
