"""Running the jobs of a CI file as their runners would: the same shell steps, the same variables."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support import PROJECT

CI = PROJECT / "deploy/ci"
_EXPRESSION = re.compile(r"\$\{\{ *(\w+)\.(\w+)(?: *\|\| *'([^']*)')? *\}\}")
_RUNNER = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME")
"""What a runner's own environment brings."""


@dataclass(frozen=True)
class Ended:
    """A job that ran to its end, or to the step that failed."""

    ok: bool
    said: str
    """What all its steps wrote, one after the other."""


def github() -> dict[str, Any]:
    return yaml.safe_load((CI / "github.yml").read_text())


def gitlab() -> dict[str, Any]:
    return yaml.safe_load((CI / "gitlab-ci.yml").read_text())


def evaluated(value: object, contexts: Mapping[str, Mapping[str, str]]) -> str:
    """A value of the workflow with its expressions: ``${{ vars.MODEL || 'tick' }}``; other forms are an error."""
    text = _EXPRESSION.sub(lambda found: contexts[found[1]].get(found[2]) or found[3] or "", str(value))
    assert "${{" not in text, text
    return text


def run_github_job(name: str, checkout: Path, contexts: Mapping[str, Mapping[str, str]]) -> Ended:
    """Run the ``run`` steps of a job in a checkout, each in a shell of its own, with its own variables only."""
    workflow = github()
    job = workflow["jobs"][name]
    said = ""
    for step in job["steps"]:
        if "run" not in step:
            continue
        variables = {
            key: evaluated(value, contexts)
            for variables in (workflow["env"], job.get("env", {}), step.get("env", {}))
            for key, value in variables.items()
        }
        ended = run(["bash", "-e", "-c", step["run"]], checkout, variables)
        said += ended.said
        if not ended.ok:
            return Ended(False, said)
    return Ended(True, said)


def run_gitlab_job(name: str, checkout: Path, variables: Mapping[str, str]) -> Ended:
    """Run a job's script in a checkout, in one shell that ends at the first error."""
    pipeline = gitlab()
    job = pipeline[name]
    own = {key: value["value"] if isinstance(value, dict) else value for key, value in pipeline["variables"].items()}
    known = {**own, **variables}
    for key, value in job.get("variables", {}).items():
        known[key] = re.sub(r"\$(\w+)", lambda found: known.get(found[1], ""), value)
    return run(["bash", "-e", "-o", "pipefail", "-c", "\n".join(job["script"])], checkout, known)


def hand_over(paths: list[str], of: Path, to: Path) -> None:
    """Give one job's artifacts to the next, as the CI would: these files and nothing else."""
    for path in paths:
        if (of / path).is_file():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(of / path, to / path)


def check_out(folder: Path, public_key: Path) -> Path:
    """A copy of the project's own files as they would be committed, with this key trusted and its .venv made."""
    made = (
        ".git",
        ".venv",
        "runs",
        "reports",
        "logs",
        "build",
        "*.mar",
        ".server",
        "__pycache__",
        ".*_cache",
        "*.egg-info",
        ".hypothesis",
    )
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*made))
    (folder / "trusted_keys").mkdir(exist_ok=True)
    shutil.copy(public_key, folder / "trusted_keys")
    environment = folder / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    (environment / "installed").touch()  # `make setup` finds it done
    return folder


def run(command: list[str], folder: Path, variables: Mapping[str, str]) -> Ended:
    environment = {name: os.environ[name] for name in _RUNNER if name in os.environ}
    result = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return Ended(result.returncode == 0, result.stdout)
