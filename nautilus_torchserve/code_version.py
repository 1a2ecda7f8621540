"""Which code runs: for records that others must be able to trust."""

import configparser
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

NAME = "nautilus-torchserve"
_OWN = Path(__file__).resolve()
_ROOT = _OWN.parents[1]


def package_version(name: str) -> str:
    """Return an installed package's version; ``not installed`` where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@cache
def code_version() -> str:
    """Return the version of this very code, whatever else of it is installed.

    A checkout's with its commit, ``0.2.0 (commit 3f2c...-dirty)`` or ``(commit unknown)``, and a wheel's as
    ``0.2.0``; ``unknown`` where the code lies in neither.
    """
    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    if setup.get("metadata", "name", fallback=None) == NAME:
        return f"{setup['metadata']['version']} (commit {git_commit() or 'unknown'})"
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        return "unknown"
    here = Path(str(installed.locate_file(_OWN.relative_to(_ROOT)))).resolve() == _OWN
    return installed.version if here else "unknown"


def git_commit() -> str | None:
    """Return the checkout's commit, with ``-dirty`` where it has changes; None outside of a checkout.

    A repository that merely holds the environment in which this code is installed is no checkout of it.
    """
    if _git("ls-files", "--error-unmatch", str(_OWN)) is None:
        return None
    head = _git("rev-parse", "--verify", "HEAD")
    return head and head + ("-dirty" if _git("status", "--porcelain", "--", ".") else "")


def _git(*arguments: str) -> str | None:
    """What git prints; None where it fails or is not there."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        result = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if result.returncode else result.stdout.strip()
