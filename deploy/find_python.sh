#!/bin/sh
# Prints the path of the first Python that runs and is of one of the versions given: $PYTHON where it is set, else python3,
# those of PATH by their version, uv's and pyenv's. A name like python3.12 means uv's and pyenv's as well, which are not in
# PATH or stand there as a program that only says so. Otherwise says in one sentence what was found.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo "one that does not run"
}

# The Pythons of version $1 that uv and pyenv keep out of PATH.
kept_elsewhere() {
    uv python find "$1" 2>/dev/null || true
    for candidate in "${HOME:-}/.pyenv/versions/$1".*/bin/python; do [ ! -x "$candidate" ] || echo "$candidate"; done
}

if [ -n "${PYTHON:-}" ]; then
    candidates=$PYTHON
    name=${PYTHON##*/}
    case $name in python3.*) candidates="$PYTHON
$(kept_elsewhere "${name#python}")" ;; esac
else
    candidates=python3
    for version in "$@"; do candidates="$candidates
python$version"; done
    candidates="$candidates
python"
    for version in "$@"; do candidates="$candidates
$(kept_elsewhere "$version")"; done
fi

got=
IFS='
'
for candidate in $candidates; do
    path=$(command -v "$candidate" 2>/dev/null) || {
        [ -z "${PYTHON:-}" ] || got="${got:+$got, }no program $candidate"
        continue
    }
    version=$(version_of "$path")
    for supported in "$@"; do
        [ "$version" != "$supported" ] || {
            echo "$path"
            exit 0
        }
    done
    got="${got:+$got, }$version ($path)"
done

unset IFS
expected=
while [ $# -gt 1 ]; do expected="${expected:+$expected, }$1" && shift; done
fail "expected Python ${expected:+$expected or }$1, got ${got:-none}: docs/setup.md says how to install one beside others;" \
    "make PYTHON=/path/to/python3.12 names it"
