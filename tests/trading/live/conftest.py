"""Files of live runs, and the script that runs them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from witness import read_events

from support import PROJECT, until

HERE = Path(__file__).parent
REPLAY = """
[node]
settle_s = 0.05
{node}
[market]
kind = "replay"
simulate = {trades}
seed = 1
speed = {speed}
warm_up = 100
{market}
[execution]
kind = "sandbox"
balance = "10000 USD"
[model]
kind = "tick"
[model.actor]
url = "{url}"
instrument_id = "SIMUSD.SIM"
warm_up_ns = "1d"
{actor}
[strategy]
trade_size = "0.1"
max_position = "0.1"
min_probability = 0.34
cooldown_ns = 0
{strategy}
[risk]
check_every_ms = 20
{risk}
{end}
"""


@dataclass
class LiveScript:
    """``scripts/live.py`` as a process."""

    process: subprocess.Popen[str]

    def wait(self, within_s: float = 60.0) -> tuple[int, dict[str, Any], str]:
        """Wait for the end; return the exit status, the JSON object, and stderr."""
        out, err = self.process.communicate(timeout=within_s)
        return self.process.returncode, json.loads(out) if out else {}, err

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition while the script runs."""
        until(lambda: self.process.poll() is not None or condition(), 40.0, what)
        assert self.process.poll() is None, self.wait()

    def until_filled(self, lines: Path) -> None:
        """Wait for the first fill in the witness's file."""
        self.until(
            lambda: lines.exists() and any(line.get("event") == "OrderFilled" for line in read_events(lines)), "a fill"
        )


ReplayFile = Callable[..., Path]
StartLive = Callable[..., LiveScript]


@pytest.fixture(scope="module")
def replay_file(tmp_path_factory: pytest.TempPathFactory) -> ReplayFile:
    """Write the file of a replay of the simulated market, by a tick model that is never unsure."""

    def write(url: str, trades: int = 400, speed: float = 40.0, **more: str) -> Path:
        sections = {"node": "", "market": "", "actor": "", "strategy": "", "risk": "", "end": "", **more}
        path = tmp_path_factory.mktemp("live") / "live.toml"
        path.write_text(REPLAY.format(url=url, trades=trades, speed=speed, **sections))
        return path

    return write


@pytest.fixture(scope="module")
def live_script() -> Iterator[StartLive]:
    """Start the script as a user does; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, **environment: str) -> LiveScript:
        command = [sys.executable, str(PROJECT / "scripts/live.py"), *map(str, arguments), "--json"]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}{os.pathsep}{PROJECT}", **environment}
        process = subprocess.Popen(
            command, cwd=PROJECT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return LiveScript(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
