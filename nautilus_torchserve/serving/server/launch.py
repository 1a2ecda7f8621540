"""The launch of TorchServe's processes, and the reasons in its logs for their end."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from nautilus_torchserve.bundle import BUNDLE
from nautilus_torchserve.files.atomic_file import fresh_file, settle
from nautilus_torchserve.serving.server.config import MODEL_STORE, launcher_environment
from nautilus_torchserve.serving.server.processes import CONFIG
from nautilus_torchserve.serving.server.properties import format_properties
from nautilus_torchserve.serving.server.start_plan import StartFailed, StartPlan
from nautilus_torchserve.wire.body import MAX_RESPONSE_SIZE

_MAX_LOG_BYTES, _MAX_REASON = 8 << 20, 300
"""Bytes read of a log, from its beginning; characters of a reason in a message."""
_DEFAULT_MAX_RESPONSE_SIZE = "6553500"
"""Default of TorchServe (bytes)."""
_DIED = "Backend worker process died."
_TRACEBACK, _NEXT_WORKER = "Traceback (most recent call last):", "s_name_part0="
_UNKNOWN = "RuntimeError: 500 - Unknown exception"  # raised by TorchServe after any RuntimeError of a handler
_EXCEPTION = re.compile(r"-std(?:out|err)(?: \S+)? - ([A-Za-z_][\w.]*(?:: .*)?)$", re.MULTILINE)


def write_config(home: Path, properties: Mapping[str, str]) -> None:
    """Write the configuration that a server in this home is started with."""
    with fresh_file(home, CONFIG) as file:
        file.write(format_properties(properties).encode())
        settle(file, home / CONFIG, 0o600)  # it may hold the key store's password


def launch(plan: StartPlan) -> int:
    """Run TorchServe's launcher, which ends and leaves Java running; return Java's process id."""
    home, properties, java_home = plan.home, plan.properties, plan.java_home
    variables = {
        **launcher_environment(properties),
        "JAVA_HOME": str(java_home),
        "PATH": f"{java_home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "TMPDIR": str(home / "tmp"),
        "TEMP": str(home / "tmp"),
        "LOG_LOCATION": str(home / "logs"),
        "METRICS_LOCATION": str(home / "logs"),
        MAX_RESPONSE_SIZE: properties.get("max_response_size", _DEFAULT_MAX_RESPONSE_SIZE),
    }
    command = [sys.executable, "-m", "ts.model_server", "--start", "--ncs"]
    command += ["--ts-config", str(home / CONFIG), "--model-store", properties[MODEL_STORE]]
    if plan.quiet:
        command += ["--log-config", str(BUNDLE / "deploy" / "log4j2.xml")]
    with (home / "logs" / "console.log").open("wb") as console:
        result = subprocess.run(
            command,
            cwd=home,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            check=False,
        )  # a session of its own: Ctrl-C in the terminal reaches this process, which stops it in order
    pid_file = home / "tmp" / ".model_server.pid"
    if result.returncode or not pid_file.is_file():
        lines = (home / "logs" / "console.log").read_text(errors="replace").split("\n")
        reason = " ".join(filter(None, lines[-4:]))[-_MAX_REASON:]
        raise StartFailed(f"TorchServe's launcher failed: {reason} (logs: {home / 'logs'})")
    return int(pid_file.read_text())


def has_dead_worker(home: Path) -> bool:
    """Return whether a worker has died."""
    return _DIED in _read_log(home, "model_log.log")


def worker_death_reason(home: Path, within_s: float) -> str:
    """Return the last line of an exception in a worker, whose traceback comes line by line through a pipe.

    TorchServe logs a handler's RuntimeError before the worker dies, and any other exception after that.
    """
    deadline = time.monotonic() + within_s
    reasons: list[str] = []
    while not reasons and time.monotonic() < deadline:
        time.sleep(0.05)
        raised = _read_log(home, "model_log.log").partition(_TRACEBACK)[2].partition(_NEXT_WORKER)[0]
        reasons = [line for line in _EXCEPTION.findall(raised) if line != _UNKNOWN]
    return reasons[-1][:_MAX_REASON] if reasons else "for no reason that it gave"


def exit_reason(home: Path) -> str:
    """Return what TorchServe printed last before it ended: its own sentence, or Java's exception."""
    lines = _read_log(home, "console.log").splitlines()
    reasons = [line for line in lines if re.match(r"Invalid |(Caused by: )?[\w.]+(Exception|Error)\b", line)]
    return (reasons or list(filter(None, lines)) or ["for no reason that it gave"])[-1][:_MAX_REASON]


def _read_log(home: Path, name: str) -> str:
    path = home / "logs" / name
    if not path.is_file():
        return ""
    with path.open("rb") as log:
        return log.read(_MAX_LOG_BYTES).decode(errors="replace")
