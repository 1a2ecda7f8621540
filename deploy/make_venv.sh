#!/bin/sh
# make_venv.sh FOLDER VERSION...: makes a virtual environment from a Python of these versions (find_python.sh), or says in one
# sentence what is missing. Nothing half-made stays: what is there afterwards has a working pip.
set -eu

folder=$1
shift

fail() {
    echo "error: $*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo "one that does not run"
}

has_pip() {
    "$folder"/bin/python -m pip --version >/dev/null 2>&1
}

if [ -x "$folder"/bin/python ]; then
    version=$(version_of "$folder"/bin/python)
    if [ -n "${PYTHON:-}" ]; then
        python=$(sh deploy/find_python.sh "$@")
        [ "$version" = "$(version_of "$python")" ] ||
            fail "expected Python $(version_of "$python") ($PYTHON) in $folder, got $version: make clean removes it"
    fi
    case " $* " in
        *" $version "*) if has_pip || "$folder"/bin/python -m ensurepip >/dev/null 2>&1; then exit 0; fi ;;
        *) case $version in [0-9]*) fail "expected a Python among $* in $folder, got $version: make clean removes it" ;; esac ;;
    esac
fi

python=$(sh deploy/find_python.sh "$@")
rm -rf "$folder"
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
if ! "$python" -m venv "$folder" >/dev/null 2>&1 || ! has_pip; then
    fail "expected a Python with the modules venv and ensurepip, got $python without them:" \
        "on Debian and Ubuntu, apt install python3-venv"
fi
trap - EXIT
