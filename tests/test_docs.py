"""The documentation as a site, and what is generated of it."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])


def test_command_line_reference_is_up_to_date() -> None:
    from scripts.cli_reference import PAGE, reference

    assert (PROJECT / PAGE).read_text() == reference(), "run: python scripts/cli_reference.py"


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed: make docs")
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]

    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "cli.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_that_a_page_names_exists(page: Path) -> None:
    text = re.sub(r"^```(bash|text)\n.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    names = re.findall(r"\b((?:nautilus_torchserve|strategies|tests)[./][\w./]*\w)(?::(\w+))?", text)

    assert [name for name, attribute in names if not _exists(name, attribute)] == []


def _exists(name: str, attribute: str) -> bool:
    """Whether a path, a module, or an attribute of a module (``a.b.c`` or ``a.b:c``) is in the tree."""
    if (PROJECT / name).exists():
        return True
    module, _, last = name.rpartition(".")
    candidates = [(name, attribute), (module, last)]
    for dotted, word in candidates:
        path = PROJECT / dotted.replace(".", "/")
        if path.is_dir() and not word:
            return True
        source = path.with_suffix(".py")
        if source.is_file() and (not word or re.search(rf"\b{word}\b", source.read_text())):
            return True
    return False
