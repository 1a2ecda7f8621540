"""Which folder is the bundle, and how a new one comes to be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nautilus_torchserve import bundle
from nautilus_torchserve.cli.new import app
from support import PROJECT


def make_bundle(folder: Path) -> Path:
    (folder / "model_defs").mkdir(parents=True)
    (folder / "config.properties").touch()
    return folder


def test_a_new_bundle_has_what_the_checkout_has_and_a_readme(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "a" / "desk"), "--json"])

    folder = tmp_path / "a" / "desk"
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert json.loads(result.stdout) == {"bundle": str(folder), "files": len(files)}
    for path in files - {Path("README.md"), Path(".gitignore")}:
        assert (folder / path).read_bytes() == (PROJECT / path).read_bytes()
    readme = (folder / "README.md").read_text()
    assert all(f"`{path.name}" in readme for path in folder.iterdir() if path.name not in ("README.md", ".gitignore"))
    assert bundle.find_bundle(folder) == folder


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "desk"
    if kind == "folder":
        target.mkdir()
        (target / "strategies.py").touch()
    else:
        target.touch()
    before = sorted(tmp_path.rglob("*"))

    result = CliRunner().invoke(app, [str(target)])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {target}: expected a new or an empty folder, got one with files\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_the_nearest_bundle_counts_then_the_checkout_then_the_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make_bundle(tmp_path / "desk")
    (desk / "runs" / "tick").mkdir(parents=True)

    assert bundle.find_bundle(desk / "runs" / "tick") == desk
    assert bundle.find_bundle(make_bundle(desk / "inner")) == desk / "inner"
    assert bundle.find_bundle(tmp_path) == PROJECT
    monkeypatch.setattr(bundle, "LIBRARY_ROOT", tmp_path / "site-packages")
    assert bundle.find_bundle(tmp_path) == bundle.TEMPLATE


def test_a_bundle_is_importable_here_and_in_processes_that_are_started(tmp_path: Path) -> None:
    desk = make_bundle(tmp_path / "desk")
    (desk / "model_defs" / "__init__.py").touch()
    (desk / "model_defs" / "own.py").write_text("NAME = 'own'")
    code = "import nautilus_torchserve.cli, sys, subprocess; from model_defs.own import NAME; print(NAME, flush=True);"
    code += "subprocess.run([sys.executable, '-P', '-c', 'import model_defs.own; print(1)'], check=True)"

    result = subprocess.run([sys.executable, "-P", "-c", code], cwd=desk, capture_output=True, text=True, check=False)

    assert (result.stdout, result.stderr) == ("own\n1\n", "")
