"""`make setup` on machines without a supported Python: one sentence, and nothing half-made."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support import PROJECT

TOOLS = ("sh", "make", "rm", "touch")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout's files for `make setup`, and a folder ``bin`` with all programs of the machine: no Python yet."""
    names = ("Makefile", "pyproject.toml", "setup.cfg", "setup.py", "constraints.txt")
    for name in (*names, "deploy/find_python.sh", "deploy/make_venv.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(PROJECT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for name in TOOLS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def install(machine: Path, name: str, script: str) -> None:
    (machine / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (machine / "bin" / name).chmod(0o755)


def make(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "setup", *arguments],
        cwd=machine,
        env={"PATH": str(machine / "bin"), "HOME": str(machine / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


WITHOUT_VENV = f"""
if [ "$2" = venv ]; then mkdir -p .venv/bin; echo "ensurepip is not available"; exit 1; fi
exec {sys.executable} "$@"
"""
"""Debian's Python without python3-venv leaves a .venv without pip."""
OF_3_13 = 'if [ "$1" = -c ]; then echo 3.13; else exit 1; fi'
"""A Python 3.13 without the module venv."""


@pytest.mark.parametrize(
    ("pythons", "arguments", "message"),
    [
        ({}, [], "error: expected Python 3.11, 3.12 or 3.13, got none: docs/setup.md says how"),
        (
            {"python3": "echo 3.14"},
            [],
            "error: expected Python 3.11, 3.12 or 3.13, got 3.14 ({bin}/python3): docs/setup.md",
        ),
        (
            {"python3.11": "echo 'pyenv: python3.11: command not found' >&2; exit 127", "python3": "echo 3.9"},
            [],
            "got 3.9 ({bin}/python3), one that does not run ({bin}/python3.11): docs",
        ),
        (
            {"python3.11": WITHOUT_VENV},
            ["PYTHON=/nowhere/python"],
            "error: expected Python 3.11, 3.12 or 3.13, got no program /nowhere/python: docs",
        ),
        (
            {"python3.11": WITHOUT_VENV},
            [],
            "error: expected a Python with the modules venv and ensurepip, got "
            "{bin}/python3.11 without them: on Debian and Ubuntu, apt install python3-venv",
        ),
        ({"python3": OF_3_13, "python3.11": WITHOUT_VENV}, [], "got {bin}/python3 without them"),
        ({"python3": "echo 3.14", "python3.12": OF_3_13}, [], "got {bin}/python3.12 without them"),
        ({"python3": OF_3_13, "own": OF_3_13}, ["PYTHON=own"], "got {bin}/own without them"),
        ({"uv": "echo {bin}/elsewhere", "elsewhere": WITHOUT_VENV}, [], "got {bin}/elsewhere without them"),
        (
            {"uv": 'test "$3" = 3.13 && echo {bin}/elsewhere', "elsewhere": OF_3_13, "python3.13": "exit 127"},
            ["PYTHON=python3.13"],
            "got {bin}/elsewhere without them",
        ),
    ],
)
def test_missing_python_is_named_and_no_environment_is_left(
    machine: Path, pythons: dict[str, str], arguments: list[str], message: str
) -> None:
    (machine / "bin" / "mkdir").symlink_to(shutil.which("mkdir") or "mkdir")
    for name, script in pythons.items():
        install(machine, name, script.replace("{bin}", str(machine / "bin")))

    result = make(machine, *arguments)

    assert result.returncode == 2
    assert message.replace("{bin}", str(machine / "bin")) in result.stderr
    assert len(result.stderr.splitlines()) == 2  # ours, and make's
    assert not (machine / ".venv").exists()


@pytest.mark.parametrize(
    ("version", "arguments", "message"),
    [
        ("3.14", [], "error: expected a Python among 3.11 3.12 3.13 in .venv, got 3.14: make clean removes it"),
        ("3.12", ["PYTHON=own"], "error: expected Python 3.13 (own) in .venv, got 3.12: make clean removes it"),
    ],
)
def test_environment_of_another_python_is_the_users_to_remove(
    machine: Path, version: str, arguments: list[str], message: str
) -> None:
    install(machine, "own", OF_3_13)
    (machine / ".venv" / "bin").mkdir(parents=True)
    (machine / ".venv" / "bin" / "python").write_text(f"#!/bin/sh\necho {version}\n")
    (machine / ".venv" / "bin" / "python").chmod(0o755)

    result = make(machine, *arguments)

    assert message in result.stderr
    assert (machine / ".venv" / "bin" / "python").exists()


def test_a_python_that_pyenv_keeps_is_found_by_its_version(machine: Path) -> None:
    python = machine / "home/.pyenv/versions/3.13.0/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{OF_3_13}\n")
    python.chmod(0o755)
    install(machine, "python3.13", "exit 127")  # pyenv's program, which says that no version is chosen

    for arguments in ([], ["PYTHON=python3.13"]):
        assert f"got {python} without them" in make(machine, *arguments).stderr


def test_another_python_than_that_of_a_finished_environment_is_refused(machine: Path) -> None:
    install(machine, "own", OF_3_13)
    (machine / ".venv" / "bin").mkdir(parents=True)
    install(machine, "../.venv/bin/python", "echo 3.12")
    (machine / ".venv" / "installed").touch()

    assert "error: expected Python 3.13 (own) in .venv, got 3.12" in make(machine, "PYTHON=own").stderr
    assert make(machine).returncode == 0


@pytest.mark.slow
def test_a_half_made_environment_is_made_anew_and_a_whole_one_kept(machine: Path) -> None:
    install(machine, "python3", f'exec {sys.executable} "$@"')
    (machine / ".venv" / "bin").mkdir(parents=True)
    command = ["sh", "deploy/make_venv.sh", ".venv", "3.11", "3.12", "3.13"]

    subprocess.run(command, cwd=machine, env={"PATH": str(machine / "bin")}, check=True)
    subprocess.run([machine / ".venv" / "bin" / "python", "-m", "pip", "--version"], check=True)
    (machine / ".venv" / "kept").touch()
    subprocess.run(command, cwd=machine, env={"PATH": str(machine / "bin")}, check=True)

    assert (machine / ".venv" / "kept").exists()


def test_the_workflow_runs_what_a_developer_runs() -> None:
    workflow = PROJECT / ".github/workflows/ci.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", workflow]

    steps = yaml.safe_load(workflow.read_text())["jobs"]["run"]["steps"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert result.returncode == 0, result.stdout
