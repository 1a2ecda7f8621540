"""Helpers that tests share besides fixtures."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from click.testing import Result
from typer.testing import CliRunner

from fault_injection.commands import script_app as script_app  # tests call commands in this process with it

PROJECT = Path(__file__).resolve().parent.parent
REAL_DATA = PROJECT.parent / "shared" / "data"
"""Real market data; tests that use it skip where it is absent."""
SECRETS = {
    name: f"leaked-{name}"
    for name in (
        *("ARCHIVE_SIGN_KEY", "ARCHIVE_KEY_PASSPHRASE", "AWS_ACCESS_KEY_ID", "BINANCE_API_KEY", "BINANCE_API_SECRET"),
        *("DATABASE_URL", "HF_TOKEN", "MLFLOW_TRACKING_URI", "TORCHSERVE_TOKEN", "api_token", "Unheard_of", "X7"),
        *("CUDA_API_KEY", "HTTPS_PROXY_AUTH", "PATHS", "PYTHON_DB", "TORCH_HUB_TOKEN", "TS_KEYSTORE_PASS", "lang"),
    )
}
"""Environment variables that no server may disclose."""
BATCH = 8
"""Requests that ``tick-batched`` waits for."""


def call_script(script: str | Path, *arguments: str | Path) -> Result:
    """Call one of the project's scripts in this process: a process of its own imports libraries for seconds.

    Environment variables and handlers of signals are afterwards what they were.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with patch.dict(os.environ):
            return CliRunner().invoke(script_app(PROJECT / script), [*map(str, arguments)])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run_script(*arguments: str | Path, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run one of the project's scripts in a process of its own, for what happens outside of it: signals, servers."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def copy_checkout(folder: Path) -> None:
    """Copy the project's own files, as a fresh clone has them: those that git has, or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():  # a file that is deleted here is listed until that is committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)


def until(condition: Callable[[], bool], within_s: float = 20.0, what: str = "the condition") -> None:
    """Wait for a condition."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"expected {what} within {within_s:g} s, it did not come true"
        time.sleep(0.005)
