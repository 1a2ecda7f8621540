"""The benchmark of a live node's waits runs every way, on a real server."""

import json
from pathlib import Path

import pytest

from support import call_script, run_script

pytestmark = pytest.mark.slow


def test_every_way_is_measured(tick_archive: Path) -> None:
    options = ("--archive", tick_archive, "--seconds", "0.5", "--rounds", "1", "--json")

    result = run_script("scripts/bench_live.py", *options)

    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    ours, blocking, idle = (summary["ways"][way] for way in ("ours", "blocking", "no requests"))
    assert ours["requested"] == blocking["requested"] == blocking["requests"] == 250 - 32  # but for the first window
    assert 0 < ours["answered"] <= ours["requested"]  # on a busy machine some come after their deadline
    assert ours["requests"] < blocking["requests"]
    assert idle["requests"] == 0
    assert summary["target"]["value"] == ours["p99_ms"]
    assert summary["times_longer"] == pytest.approx(blocking["p99_ms"] / ours["p99_ms"])


def test_a_missing_archive_ends_the_benchmark_with_status_1(tmp_path: Path) -> None:
    result = call_script("scripts/bench_live.py", "--archive", tmp_path / "none.mar")

    assert result.exit_code == 1
    assert "none.mar" in result.stderr
