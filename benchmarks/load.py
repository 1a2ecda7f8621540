"""Load on one URL: so many connections, each with one request under way, for so long.

`Wrk` when it is installed; `ClosedLoop`, our own, where there is nothing but a package
registry. Their numbers differ by the client's own cost: compare only within one.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nautilus_torchserve.user_error import UserError

PROJECT = Path(__file__).resolve().parent.parent
_ENDS_WITHIN_S = 30


class LoadFailed(UserError):
    """An answer was no 200, a connection broke or none was answered: nothing was measured."""


@dataclass(frozen=True)
class Load:
    """One load: POST the same body again and again."""

    url: str
    """``http://host:port/path``."""
    headers: Mapping[str, str]
    """Headers of each request, besides ``Host`` and ``Content-Length``."""
    body: bytes
    connections: int
    """Keep-alive connections; each sends its next request on a response."""
    seconds: float
    """Duration, seconds."""


@dataclass(frozen=True)
class LoadResult:
    """Measurements of one load; every request got status 200."""

    p50_ms: float
    """Median time from a request to its whole answer."""
    p99_ms: float
    requests_per_s: float


class Generator(Protocol):
    """A load generator."""

    name: str
    """For the report."""

    def run(self, load: Load) -> LoadResult:
        """Keep up a load and measure it; raises `LoadFailed`."""


def find_generator() -> Generator:
    """Return the best load generator on this machine."""
    path = shutil.which("wrk")
    return Wrk(Path(path)) if path else ClosedLoop()


class Wrk:
    """The `wrk` command: one thread, latencies in microseconds.

    Parameters
    ----------
    path : Path
        The program.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        version = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
        self.name = " ".join(["wrk", *version.split()[1:2]])

    def run(self, load: Load) -> LoadResult:
        with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
            script = Path(folder) / "load.lua"
            script.write_text(_lua(load))
            command = [str(self._path), "-t1", f"-c{load.connections}", "-d1h", "--timeout", "10s"]
            # It counts whole seconds only; at an interrupt it stops and reports like at the end of its time.
            output = _for_seconds([*command, "-s", str(script), load.url], load.seconds)
        counted = _last_object(output)
        errors = {name: number for name, number in counted["errors"].items() if number}
        if errors or not counted["requests"]:
            raise LoadFailed(f"{load.url}: {counted['requests']} requests, errors: {errors or 'none'}")
        rate = counted["requests"] / counted["duration_us"] * 1e6
        return LoadResult(counted["p50_us"] / 1e3, counted["p99_us"] / 1e3, rate)


class ClosedLoop:
    """Our own client, `benchmarks.closed_loop`, in a process and an event loop of its own."""

    name = "closed_loop (asyncio on uvloop)"

    def run(self, load: Load) -> LoadResult:
        spec = {**vars(load), "headers": dict(load.headers), "body": base64.b64encode(load.body).decode()}
        try:
            result = subprocess.run(
                [sys.executable, "-m", "benchmarks.closed_loop"],
                input=json.dumps(spec),
                cwd=PROJECT,
                capture_output=True,
                text=True,
                timeout=load.seconds + _ENDS_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LoadFailed(f"{load.url}: the load generator did not end") from error
        if result.returncode:
            raise LoadFailed(f"{load.url}: {result.stderr.strip()}")
        return LoadResult(**_last_object(result.stdout))


def _for_seconds(command: list[str], seconds: float) -> str:
    """Run a program, interrupt it after so many seconds, return what it printed."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"{' '.join(command)}: did not end") from error
    finally:
        process.kill()
        process.wait()
    return output


def _last_object(output: str) -> dict[str, Any]:
    try:
        return json.loads(output.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise LoadFailed(f"expected a JSON object from the load generator, got {output.strip()[-500:]}") from error


def _lua(load: Load) -> str:
    """Return wrk's script: the request, and the report as JSON."""
    headers = "".join(f"wrk.headers[{_quoted(key)}] = {_quoted(value)}\n" for key, value in load.headers.items())
    return f'wrk.method = "POST"\nwrk.body = {_quoted(load.body)}\n{headers}{_REPORT}'


def _quoted(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'


_REPORT = """
function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""
