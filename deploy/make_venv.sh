#!/bin/sh
# Makes .venv from a supported Python ($PYTHON, else python3, else the first one found), or says in one sentence what is
# missing. Nothing half-made stays: what is there afterwards has a working pip.
set -eu

EXPECTED='Python 3.11, 3.12 or 3.13'

fail() {
    echo "error: $*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo "one that does not run"
}

is_supported() {
    case $1 in 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac
}

has_pip() {
    .venv/bin/python -m pip --version >/dev/null 2>&1
}

if [ -x .venv/bin/python ]; then
    version=$(version_of .venv/bin/python)
    [ -z "${PYTHON:-}" ] || [ "$version" = "$(version_of "$PYTHON")" ] ||
        fail "expected Python $(version_of "$PYTHON") ($PYTHON) in .venv, got $version: make clean removes it"
    if is_supported "$version"; then
        if has_pip || .venv/bin/python -m ensurepip >/dev/null 2>&1; then exit 0; fi
    else
        case $version in [0-9]*) fail "expected $EXPECTED in .venv, got $version: make clean removes it" ;; esac
    fi
fi

python=
got=
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    # uv keeps its Pythons out of PATH.
    set -- python3 python3.11 python3.12 python3.13 python "$(uv python find '>=3.11,<3.14' 2>/dev/null || true)"
fi
for candidate in "$@"; do
    path=$(command -v "$candidate" 2>/dev/null) || {
        [ -z "${PYTHON:-}" ] || got="no program $candidate"
        continue
    }
    version=$(version_of "$path")
    if is_supported "$version"; then
        python=$path
        break
    fi
    got="${got:+$got, }$version ($path)"
done
if [ -z "$python" ]; then
    fail "expected $EXPECTED, got ${got:-none}: docs/setup.md says how to install one beside others;" \
        "make PYTHON=/path/to/python3.12 names it"
fi

rm -rf .venv
trap 'rm -rf .venv' EXIT
trap 'exit 1' INT TERM
if ! "$python" -m venv .venv >/dev/null 2>&1 || ! has_pip; then
    fail "expected a Python with the modules venv and ensurepip, got $python without them:" \
        "on Debian and Ubuntu, apt install python3-venv"
fi
trap - EXIT
