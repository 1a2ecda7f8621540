"""Commands of ``scripts/`` called in forks of this process, and what may not come of any call."""

import importlib.util
import json
import os
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from typer import Typer

from nautilus_torchserve.cli.app import A_BUG

PROJECT = Path(__file__).resolve().parent.parent
MOST_CPU_S, MOST_S = 60, 900
"""Seconds of processor time, and of waiting, after which a call counts as hung."""
STATUSES = frozenset({0, 1, 2, 3, 4})
"""Exit statuses that commands document."""
LOST_MODEL = 4
"""Status of a live run that ended without its model: on a busy machine a short replay is over before it connects."""
HUNG = -999
"""Status of a call that did not end."""
_SIGNS_OF_A_BUG = ("Traceback (most recent call last)", A_BUG, "Exception ignored", "panicked at")
_PRELOADED = (
    "nautilus_torchserve.release.rollout.rollout",
    "nautilus_torchserve.experiments.canary.canary",
    "nautilus_torchserve.experiments.ab.auto",
    "nautilus_torchserve.trading.live.run",
    "nautilus_trader.live.node",
    "nautilus_trader.backtest.engine",
    "nautilus_torchserve.audit.opening",
)
_FAKE_JAVA = """#!/bin/sh
case "$*" in *-version*) echo 'openjdk version "17.0.9"' >&2; exit 0;; esac
echo 'this Java ends at once' >&2
exit 1
"""


@dataclass(frozen=True)
class Call:
    """One call of a command."""

    script: str
    arguments: tuple[str, ...]
    folder: Path
    """Working directory, and the home folder of the process."""
    environment: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"cd {self.folder}; python scripts/{self.script}.py {' '.join(map(repr, self.arguments))[:3000]}"


def script_app(path: Path) -> Typer:
    """Return a script's commands, to be called in this process."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def preload() -> None:
    """Import what commands about servers and live runs import, once for many calls."""
    for name in _PRELOADED:
        import_module(name)


def run(call: Call, most_s: float = MOST_S) -> tuple[int, str, str]:
    """Make a call in a fork of this process; return its exit status (negative: the signal), stdout and stderr."""
    paths = call.folder / ".stdout", call.folder / ".stderr"
    for path in paths:
        path.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
        _be_the_command(call, *paths)
    end = time.monotonic() + most_s
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid or time.monotonic() > end:
            break
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and what it has started
    if not pid:
        _, status = os.waitpid(child, 0)
    out, err = (path.read_text("utf-8", "replace") if path.exists() else "" for path in paths)
    return (os.waitstatus_to_exitcode(status) if pid else HUNG), out, err


def _be_the_command(call: Call, out: Path, err: Path) -> None:
    """Become ``python scripts/NAME.py``, as far as anybody outside can see; never returns."""
    status = 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for number, path in enumerate((Path(os.devnull), out, err)):
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(opened, number)
        os.chdir(call.folder)
        os.environ.update({**call.environment, "HOME": f"{call.folder}"})
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
        sys.argv = [f"{call.script}.py", *call.arguments]
        script_app(PROJECT / "scripts" / f"{call.script}.py")()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def fault_of(call: Call, status: int, out: str, err: str) -> str | None:
    """Return what is wrong with how a call ended; None where nothing is."""
    if status == HUNG:
        return "no end in time"
    if status not in STATUSES:
        return f"status {status}"
    for sign in _SIGNS_OF_A_BUG:
        if sign in out + err:
            return sign
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    if status and len(errors) != 1 and "Usage:" not in err and not out.startswith("{"):
        return f"status {status} with {len(errors)} lines of errors"
    if status == 0 and "--json" in call.arguments and "--help" not in call.arguments:
        try:
            json.loads(out)
        except ValueError:
            return "stdout is no JSON object"
    return None


def quiet_environment(folder: Path) -> dict[str, str]:
    """Return variables with which commands neither find a Java that works nor the user's tokens.

    A Java that ends at once lets commands get as far as TorchServe's start, and report that it failed.
    """
    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(_FAKE_JAVA)
    java.chmod(0o755)
    for name in ("TORCHSERVE_TOKEN", "TORCHSERVE_MANAGEMENT_TOKEN", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    return {
        "JAVA_HOME": f"{folder / 'java'}",
        "PATH": f"{java.parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{PROJECT}",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "PYTHONWARNINGS": "ignore",
    }
