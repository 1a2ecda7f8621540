"""Runs the jobs of a CI file as their runners would: the same shell steps, the same variables."""

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

from support import PROJECT, copy_checkout

CI = PROJECT / "deploy/ci"
_EXPRESSION = re.compile(r"\$\{\{ *(\w+)\.(\w+)(?: *\|\| *'([^']*)')? *\}\}")
_RUNNER = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME")
"""Variables of a runner's own environment."""


@dataclass(frozen=True)
class JobResult:
    """A job that ran to its end, or to the step that failed."""

    ok: bool
    output: str
    """Output of all its steps."""


def github() -> dict[str, Any]:
    return yaml.safe_load((CI / "github.yml").read_text())


def gitlab() -> dict[str, Any]:
    return yaml.safe_load((CI / "gitlab-ci.yml").read_text())


def evaluated(value: object, contexts: Mapping[str, Mapping[str, str]]) -> str:
    """Return a value of the workflow with its expressions replaced: ``${{ vars.MODEL || 'tick' }}``, no other form."""
    text = _EXPRESSION.sub(lambda match: contexts[match[1]].get(match[2]) or match[3] or "", str(value))
    assert "${{" not in text, text
    return text


def run_github_job(name: str, checkout: Path, contexts: Mapping[str, Mapping[str, str]]) -> JobResult:
    """Run the ``run`` steps of a job in a checkout, each in a shell of its own, with its own variables only."""
    workflow = github()
    job = workflow["jobs"][name]
    output = ""
    for step in job["steps"]:
        if "run" not in step:
            continue
        variables = {
            key: evaluated(value, contexts)
            for variables in (workflow["env"], job.get("env", {}), step.get("env", {}))
            for key, value in variables.items()
        }
        result = run(["bash", "-e", "-c", step["run"]], checkout, variables)
        output += result.output
        if not result.ok:
            return JobResult(False, output)
    return JobResult(True, output)


def run_gitlab_job(name: str, checkout: Path, variables: Mapping[str, str]) -> JobResult:
    """Run a job's script in a checkout, in one shell that ends at the first error."""
    pipeline = gitlab()
    job = pipeline[name]
    own = {key: value["value"] if isinstance(value, dict) else value for key, value in pipeline["variables"].items()}
    known = {**own, **variables}
    for key, value in job.get("variables", {}).items():
        known[key] = re.sub(r"\$(\w+)", lambda match: known.get(match[1], ""), value)
    return run(["bash", "-e", "-o", "pipefail", "-c", "\n".join(job["script"])], checkout, known)


def hand_over(paths: list[str], of: Path, to: Path) -> None:
    """Give one job's artifacts to the next, as the CI would: these files and nothing else."""
    for path in paths:
        if (of / path).is_file():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(of / path, to / path)


def check_out(folder: Path, public_key: Path) -> Path:
    """Copy the project's own files as they would be committed, with this key trusted and its .venv made."""
    copy_checkout(folder)
    (folder / "trusted_keys").mkdir(exist_ok=True)
    shutil.copy(public_key, folder / "trusted_keys")
    environment = folder / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    (environment / "installed").touch()  # `make setup` finds it done
    return folder


def run(command: list[str], folder: Path, variables: Mapping[str, str]) -> JobResult:
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
    return JobResult(result.returncode == 0, result.stdout)
