"""The whole attack with its full counts: nothing is harmed. Some ten minutes on two cores."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import PROJECT

pytestmark = pytest.mark.slow

PARTS = {"requests": 100_000, "answers": 1000, "state-files": 200, "kills": 50, "swaps": 10}


@pytest.mark.parametrize(("part", "count"), PARTS.items(), ids=PARTS)
def test_nothing_is_harmed(part: str, count: int, tick_archive: Path) -> None:
    command = [sys.executable, PROJECT / "scripts/attack.py", part, "--count", f"{count}", "--archive", tick_archive]

    result = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    (found,) = json.loads(result.stdout)["parts"]
    assert next(iter(found["counts"].values())) == count
    assert not any(found["counts"][name] for name in found["must_be_zero"])
