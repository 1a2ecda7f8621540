#!/bin/sh
# Makes .venv from Python 3.11 ($PYTHON, else the first one found), or says in one sentence what is missing.
# Nothing half-made stays: what is there afterwards has a working pip.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo "one that does not run"
}

has_pip() {
    .venv/bin/python -m pip --version >/dev/null 2>&1
}

if [ -x .venv/bin/python ]; then
    version=$(version_of .venv/bin/python)
    case $version in
        3.11) if has_pip || .venv/bin/python -m ensurepip >/dev/null 2>&1; then exit 0; fi ;;
        [0-9]*) fail "expected Python 3.11 in .venv, got $version: make clean removes it" ;;
    esac
fi

python=
got=
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    # uv keeps its Pythons out of PATH.
    set -- python3.11 python3 python "$(uv python find 3.11 2>/dev/null || true)"
fi
for candidate in "$@"; do
    path=$(command -v "$candidate" 2>/dev/null) || {
        [ -z "${PYTHON:-}" ] || got="no program $candidate"
        continue
    }
    version=$(version_of "$path")
    if [ "$version" = 3.11 ]; then
        python=$path
        break
    fi
    got="${got:+$got, }$version ($path)"
done
if [ -z "$python" ]; then
    fail "expected Python 3.11, got ${got:-none}: docs/setup.md says how to install it beside others;" \
        "make PYTHON=/path/to/python3.11 names it"
fi

rm -rf .venv
trap 'rm -rf .venv' EXIT
trap 'exit 1' INT TERM
if ! "$python" -m venv .venv >/dev/null 2>&1 || ! has_pip; then
    fail "expected a Python with the modules venv and ensurepip, got $python without them:" \
        "on Debian and Ubuntu, apt install python3.11-venv"
fi
trap - EXIT
