"""No command shows a traceback, whatever it is given; ``pytest tests/fuzz --fuzz 10000 --fuzz-seed 7`` looks harder."""

import subprocess
import sys

import pytest

from support import PROJECT

FEW, MANY = 8, 1000


def fuzz(calls: int, seed: int) -> None:
    """Run the fuzzer in a process of its own (it forks), at low priority beside tests that measure latencies."""
    command = ["nice", "-n", "15", sys.executable, PROJECT / "tests/fuzz/fuzz.py", f"{calls}", "--seed", f"{seed}"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_command_shows_a_traceback(request: pytest.FixtureRequest) -> None:
    fuzz(request.config.getoption("--fuzz") or FEW, request.config.getoption("--fuzz-seed"))


@pytest.mark.slow
def test_no_command_shows_a_traceback_for_many_inputs(request: pytest.FixtureRequest) -> None:
    fuzz(MANY, request.config.getoption("--fuzz-seed"))
