#!/bin/sh
# What the Makefile needs done to the machine, one step a call:
#
#   setup.sh system PYTHON               a C compiler, pkg-config, libzmq's headers, and Python with venv and headers
#   setup.sh venv PYTHON VENV            a fresh virtual environment
#   setup.sh install VENV NAME ARGS...   what pip's ARGS say, in it; NAME is for people
#
# Each says nothing when there is nothing to do, and ends with one clear sentence when it cannot go on.
set -eu

say() { printf '== %s\n' "$*"; }
die() { printf '\n== cannot go on: %s\n' "$*" >&2; exit 1; }

has_compiler() { printf '#include <stdio.h>\n' | "${CC:-cc}" -fsyntax-only -x c - 2>/dev/null; }
has_pkg_config() { command -v "${PKG_CONFIG:-pkg-config}" >/dev/null; }
has_libzmq() { has_pkg_config && "${PKG_CONFIG:-pkg-config}" --exists 'libzmq >= 4.2'; }
has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
has_headers() {
    "$python" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))'
}

# Sets $missing, for people, and $packages, for apt.
look_around() {
    missing='' packages=''
    need() { missing="$missing${missing:+, }$1"; packages="$packages $2"; }
    has_compiler || need 'a C compiler' 'gcc libc6-dev'
    has_pkg_config || need 'pkg-config' 'pkg-config'
    has_libzmq || need 'libzmq 4.2 or newer with its headers' 'libzmq3-dev'
    has_venv || need "the venv module of $python" "$python-venv"
    has_headers || need "the C headers of $python" "$python-dev"
}

apt_install() {
    as_root=''
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "this needs $missing, and there is no sudo; as root, please run: apt-get update && apt-get install$packages"
        as_root='sudo'
    fi
    say "to build the C part, this needs $missing; installing with${as_root:+ $as_root} apt-get:$packages"
    # A fresh machine (a container) has no package lists at all, so they are fetched first.
    $as_root apt-get update -qq || die 'apt-get cannot fetch its package lists: is there a network?'
    # shellcheck disable=SC2086  # $packages is a list
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends $packages >/dev/null ||
        die "apt-get could not install$packages; what it says stands above"
}

system() {
    python=$1
    command -v "$python" >/dev/null ||
        die "there is no $python here: install Python 3.10 or newer, or say which one: make PYTHON=/path/to/python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "gzmqhelper needs Python 3.10 or newer, and $("$python" --version 2>&1) is older;" \
            "if another is installed, say which: make PYTHON=python3.12"

    look_around
    [ -z "$missing" ] && return
    if [ -f /etc/debian_version ] && command -v apt-get >/dev/null; then
        apt_install
        look_around
        [ -z "$missing" ] && return
        die "$missing: still not found after apt-get." \
            "(Is $python, $(command -v "$python"), the system's own? Another brings its own headers and venv.)"
    fi
    printf '%s\n' \
        "   On Fedora: dnf install gcc libasan libubsan libtsan pkgconf-pkg-config zeromq-devel python3-devel" \
        "   On Alpine: apk add gcc musl-dev pkgconf zeromq-dev python3-dev" \
        "   On macOS:  xcode-select --install; brew install pkgconf zeromq" >&2
    die "please install $missing."
}

make_venv() {
    say "making a virtual environment in $2"
    "$1" -m venv --clear "$2" || die "$1 could not make a virtual environment in $2"
}

install() {
    venv=$1 log=$1/setup.log what=$2
    shift 2
    say "installing $what"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1 && return
    cat "$log" >&2
    if grep -qE 'NewConnectionError|ConnectTimeout|ReadTimeout|ConnectionReset|ProxyError|NameResolutionError' "$log"; then
        die "pip cannot reach the package index: is there a network? (Nothing is lost: the next make goes on from here.)"
    fi
    die "pip could not install $what; what it says stands above"
}

step=$1
shift
case $step in
system) system "$@" ;;
venv) make_venv "$@" ;;
install) install "$@" ;;
*) die "no such step: $step" ;;
esac
