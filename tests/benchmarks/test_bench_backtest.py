"""The backtest benchmark runs every kind of run on the same trades, and its long market is one market."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.backtests import ARCHIVE, ENGINE, HTTP, INLINE, Run, find_targets, long_market
from nautilus_torchserve.market.trades.trades import check
from support import call_script, run_script


@pytest.mark.slow
def test_every_kind_of_run_is_measured(tick_run: Path) -> None:
    result = run_script(
        "scripts/bench_backtest.py",
        "--run",
        tick_run,
        "--trades",
        "3000",
        "--inline",
        "200",
        "--rounds",
        "1",
        "--long",
        "20000",
        "--json",
    )

    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert [(run["name"], run["ticks"]) for run in summary["runs"]] == [
        (ENGINE, 3000),
        (HTTP, 3000),
        (ARCHIVE, 3000),
        (INLINE, 200),
        (HTTP, 20000),
    ]
    assert all(run["seconds"] > 0 for run in summary["runs"])
    assert list(summary["ticks_per_s"]) == list(summary["ticks_per_cpu_s"]) == [ENGINE, HTTP, ARCHIVE, INLINE]
    assert [target["value"] > 0 for target in summary["targets"]] == [True] * 3


def test_targets_are_medians_of_all_rounds() -> None:
    runs = [Run(ENGINE, 100, seconds, 1.0, 0, 0) for seconds in (1.0, 2.0, 9.0)]
    runs += [Run(HTTP, 100, seconds, 1.0, 0, 0) for seconds in (8.0, 4.0, 1.0)]

    targets = find_targets(runs, Run(HTTP, 10**6, 50.0, 1.0, 0, 7 * 2**30))

    assert [target.value for target in targets] == [25.0, 0.5, 7.0]
    assert [target.reached for target in targets] == [False, True, False]


def test_a_long_market_is_made_of_blocks_that_follow_each_other() -> None:
    trades = check(long_market(1000, seed=3, block=400))

    assert len(trades) == 1000
    assert not np.array_equal(trades.price[:200], trades.price[400:600])


def test_a_missing_run_is_reported() -> None:
    result = call_script("scripts/bench_backtest.py", "--run", "nowhere")

    assert result.exit_code == 2
    assert "nautilus-torchserve train tick --out nowhere" in result.stderr
