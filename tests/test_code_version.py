"""A record names the code that ran, or that it is unknown; never another installation's."""

import subprocess
import sys
from pathlib import Path

import pytest

from support import PROJECT

PACKAGE = "nautilus_torchserve"
PRINT_VERSION = (
    "from nautilus_torchserve.code_version import code_version, git_commit; "
    "print(code_version(), git_commit(), sep='|')"
)
METADATA = "Metadata-Version: 2.1\nName: nautilus-torchserve\nVersion: {version}\n"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The module alone, in a package of its name in a folder."""
    folder = tmp_path / "code"
    (folder / PACKAGE).mkdir(parents=True)
    for name in ("__init__.py", "code_version.py"):
        (folder / PACKAGE / name).write_bytes((PROJECT / PACKAGE / name).read_bytes())
    return folder


def reported(code: Path, *path: Path) -> str:
    """Return what the code reports of itself in an environment without this project, but for ``path``."""
    command = [
        sys.executable,
        "-S",
        "-c",
        f"import sys; sys.path[:0] = {[str(folder) for folder in (code, *path)]}; {PRINT_VERSION}",
    ]
    return subprocess.run(command, cwd=code.parent, capture_output=True, text=True, check=True).stdout.strip()


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def write_metadata(folder: Path, version: str) -> None:
    (folder / f"nautilus_torchserve-{version}.dist-info").mkdir(parents=True)
    (folder / f"nautilus_torchserve-{version}.dist-info" / "METADATA").write_text(METADATA.format(version=version))


def test_a_checkout_without_an_installation_reports_version_and_commit(code: Path) -> None:
    (code / "setup.cfg").write_text("[metadata]\nname = nautilus-torchserve\nversion = 3.1\n")
    assert reported(code) == "3.1 (commit unknown)|None"
    git(code, "init", "-q")
    assert reported(code) == "3.1 (commit unknown)|None"  # nothing committed yet

    git(code, "add", ".")
    git(code, "commit", "-qm", "all")
    head = git(code, "rev-parse", "HEAD")

    assert reported(code) == f"3.1 (commit {head})|{head}"
    (code / "new").touch()
    assert reported(code) == f"3.1 (commit {head}-dirty)|{head}-dirty"


def test_another_installation_reports_nothing_of_this_code(code: Path, tmp_path: Path) -> None:
    write_metadata(tmp_path / "elsewhere", "9.9")

    assert reported(code) == "unknown|None"
    assert reported(code, tmp_path / "elsewhere") == "unknown|None"


def test_an_installed_wheel_reports_its_version_whatever_repository_it_lies_in(code: Path) -> None:
    git(code.parent, "init", "-q")
    git(code.parent, "commit", "-q", "--allow-empty", "-m", "of the user's own project")
    write_metadata(code, "3.1")

    assert reported(code) == "3.1|None"
