"""The documentation as a site, and what is generated of it."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import PROJECT


def test_command_line_reference_is_up_to_date() -> None:
    from scripts.cli_reference import PAGE, reference

    assert (PROJECT / PAGE).read_text() == reference(), "run: python scripts/cli_reference.py"


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed: make docs")
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]

    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "cli.html").is_file()
