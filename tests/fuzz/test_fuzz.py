"""No command shows a traceback; ``pytest -m slow tests/fuzz --fuzz 10000 --fuzz-seed 7`` tries more inputs."""

import subprocess
import sys

import pytest

from support import PROJECT

CALLS = 700


@pytest.mark.slow
def test_no_command_shows_a_traceback(request: pytest.FixtureRequest) -> None:
    calls, seed = request.config.getoption("--fuzz") or CALLS, request.config.getoption("--fuzz-seed")
    # in a process of its own (it forks), at low priority beside tests that measure latencies
    command = ["nice", "-n", "15", sys.executable, PROJECT / "tests/fuzz/fuzz.py", f"{calls}", "--seed", f"{seed}"]

    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
