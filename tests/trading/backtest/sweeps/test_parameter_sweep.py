import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.sweeps.grid import Combination, combinations, parse_grid
from nautilus_torchserve.trading.backtest.sweeps.parameter_sweep import (
    ParameterSweep,
    sweep_parameters,
    write_sweep_report,
)
from nautilus_torchserve.trading.backtest.sweeps.point import Plan, SweepPoint, outcome_of, run_point
from nautilus_torchserve.trading.backtest.sweeps.processes import run_in_processes
from nautilus_torchserve.wire.errors import Unavailable
from support import PROJECT

TRIED = ("min_probability=0.34,0.36,2", "cooldown=1s,60s")


def one_by_one(plan: Plan, tried: Sequence[Combination]) -> list[SweepPoint]:
    return [run_point(plan, combination) for combination in tried]


@pytest.fixture(scope="module")
def swept(plan: Plan) -> ParameterSweep:
    grid = parse_grid(plan.settings, TRIED)
    return sweep_parameters(plan, grid, combinations(grid), one_by_one)


def test_each_trial_is_the_backtest_with_its_settings(swept: ParameterSweep, plan: Plan) -> None:
    settings = replace(plan.settings, min_probability=0.36, cooldown_ns=60 * 10**9)

    trial = swept.trials[3]

    assert trial.combination == {"min_probability": 0.36, "cooldown_ns": 60 * 10**9}
    assert trial.outcome == outcome_of(run_backtest(plan.data, settings), settings)
    assert trial.outcome.orders > 0


def test_a_combination_that_makes_no_sense_fails_alone(swept: ParameterSweep) -> None:
    assert [bool(trial.error) for trial in swept.trials] == [False, False, False, False, True, True]
    assert swept.failed[0].error == "expected min_probability in (1/3, 1), got 2"


def test_the_most_profitable_come_first_and_failures_last(swept: ParameterSweep) -> None:
    done = [trial.outcome.pnl for trial in swept.ranked if trial.outcome is not None]

    assert done == sorted(done, reverse=True)
    assert [trial.outcome for trial in swept.ranked[4:]] == [None, None]


def test_the_page_and_its_numbers_are_written(swept: ParameterSweep, plan: Plan, tmp_path: Path) -> None:
    page = write_sweep_report(swept, plan.settings, tmp_path / "x")

    numbers = json.loads((tmp_path / "x" / "sweep.json").read_text())
    assert (numbers["possible"], numbers["tried"], numbers["failed"]) == (6, 6, 2)
    assert numbers["grid"] == {"min_probability": ["0.34", "0.36", "2.0"], "cooldown_ns": ["1s", "60s"]}
    assert numbers["deflated_sharpe"] == swept.deflated_sharpe
    assert numbers["trials"][0]["pnl"] == swept.ranked[0].outcome.pnl
    assert "failed: expected min_probability in (1/3, 1), got 2" in page.read_text()


def test_a_model_that_is_not_there_stops_the_sweep_before_it_begins(plan: Plan) -> None:
    nowhere = replace(plan, settings=replace(plan.settings, url="http://127.0.0.1:9"))

    with pytest.raises(Unavailable):
        sweep_parameters(nowhere, {"latency_ns": (1, 2)}, [{"latency_ns": 1}], refuse)


def refuse(plan: Plan, tried: Sequence[Combination]) -> list[SweepPoint]:
    raise AssertionError(f"expected no run, got one with {tried}")


def test_all_trials_use_the_version_of_the_start(plan: Plan) -> None:
    versions: list[str | None] = []

    def note(given: Plan, tried: Sequence[Combination]) -> list[SweepPoint]:
        versions.append(given.settings.version)
        return [SweepPoint(combination, error="not run") for combination in tried]

    sweep_parameters(plan, {"latency_ns": (1,)}, [{"latency_ns": 1}], note)
    sweep_parameters(plan, {"version": ("1.0",)}, [{"version": "1.0"}], note)

    assert versions == ["1.0", None]


@pytest.mark.slow
def test_processes_give_the_results_of_a_sequential_run(swept: ParameterSweep, plan: Plan) -> None:
    tried = combinations(swept.grid)
    done: list[tuple[int, int]] = []

    points = run_in_processes(plan, tried, 1, lambda *counts: done.append(counts))

    assert tuple(points) == swept.trials
    assert done == [(count, 6) for count in range(1, 7)]


@pytest.mark.slow
def test_processes_that_share_a_server_give_the_same(
    swept: ParameterSweep, plan: Plan, tick_server: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHSERVE_TOKEN", tick_server.token or "")
    over_http = replace(plan, settings=replace(plan.settings, url=tick_server.inference_url))

    points = run_in_processes(over_http, combinations(swept.grid), 2)

    assert tuple(points) == swept.trials


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_sweep_whatever_ends_it(number: signal.Signals, tick_archive: Path) -> None:
    options = ("--url", f"mar:{tick_archive}", "--trades", "60000", "--in-sample", "--set", "latency=1ms,2ms,3ms,4ms")
    command = [sys.executable, "scripts/sweep.py", "tick", *options]
    sweep = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    workers = wait_for_workers(sweep.pid)
    os.kill(sweep.pid, number)
    _, stderr = sweep.communicate(timeout=30)

    assert sweep.returncode != 0
    assert "Traceback" not in stderr
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def wait_for_workers(pid: int) -> list[psutil.Process]:
    """Both workers, once they have loaded torch and so run a backtest."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        family = psutil.Process(pid).children(recursive=True)
        loaded = [each for each in family if any("libtorch" in each_map.path for each_map in each.memory_maps())]
        if len(loaded) == 2:
            return family
        time.sleep(0.1)
    raise TimeoutError("two workers within 60 s expected")


@pytest.mark.slow
def test_process_that_dies_fails_the_unfinished_trials(plan: Plan) -> None:
    points = run_in_processes(replace(plan, data=Deadly()), [{"latency_ns": 1}, {"latency_ns": 2}], 1)  # type: ignore[arg-type]

    assert [trial.error.partition(":")[0] for trial in points] == ["BrokenProcessPool", "BrokenProcessPool"]


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (1,)


def test_a_plan_is_the_same_after_pickling(plan: Plan) -> None:
    again = pickle.loads(pickle.dumps(plan))

    assert again.settings == plan.settings
    assert again.data.sha256 == plan.data.sha256
