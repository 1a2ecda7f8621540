import json
from dataclasses import replace
from pathlib import Path

import pytest

from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.sweeps.latency_sweep import (
    LatencySweep,
    parse_latencies,
    sweep_latencies,
    write_latency_report,
)
from nautilus_torchserve.trading.backtest.sweeps.point import Plan, outcome_of
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting

MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "latencies_ns"),
    [
        ("0,1,5,20,100ms", [0, MS, 5 * MS, 20 * MS, 100 * MS]),
        ("0, 500us, 2ms", [0, 500_000, 2 * MS]),
        ("5,1ms", [MS, 5 * MS]),
        ("0,1.5s", [0, 1500 * MS]),
    ],
)
def test_the_last_unit_counts_for_those_without(text: str, latencies_ns: list[int]) -> None:
    assert parse_latencies(text) == latencies_ns


@pytest.mark.parametrize("text", ["", "0,1,5", "1ms,5", "soon,1ms", "1ms,,5ms", "-1,5ms"])
def test_latencies_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="expected latencies such as 0,1,5,20,100ms, got"):
        parse_latencies(text)


@pytest.mark.parametrize("text", ["1ms", "1,1ms", "0ms,0ms"])
def test_one_latency_is_no_sweep(text: str) -> None:
    with pytest.raises(BadSetting, match="expected at least 2 different latencies"):
        parse_latencies(text)


@pytest.fixture(scope="module")
def swept(plan: Plan) -> LatencySweep:
    return sweep_latencies(lambda settings: run_backtest(plan.data, settings), plan.settings, [0, 900 * MS])


def test_each_run_is_the_backtest_at_that_latency(swept: LatencySweep, plan: Plan) -> None:
    alone = replace(plan.settings, latency_ns=900 * MS)

    assert [run.latency_ns for run in swept.runs] == [0, 900 * MS]
    assert swept.runs[1].outcome == outcome_of(run_backtest(plan.data, alone), alone)
    assert swept.runs[0].outcome != swept.runs[1].outcome
    assert swept.subject.version == "1.0"


def test_predictions_are_older_by_the_latency(swept: LatencySweep) -> None:
    first, last = (run.outcome for run in swept.runs)

    assert first.mean_age_ns == 0  # the simulator's trades are received when they are matched
    assert last.mean_age_ns == 900 * MS
    assert first.predictions > last.predictions > 1000
    assert (first.too_old, last.too_old) == (0, 0)


def test_a_millisecond_costs_the_slope_through_the_first_two(swept: LatencySweep) -> None:
    lost = swept.runs[0].outcome.pnl - swept.runs[1].outcome.pnl

    assert (swept.cost.from_ns, swept.cost.to_ns) == (0, 900 * MS)
    assert swept.cost.per_ms == pytest.approx(lost / 900)


def test_the_page_and_its_numbers_are_written(swept: LatencySweep, plan: Plan, tmp_path: Path) -> None:
    page = write_latency_report(swept, plan.settings, tmp_path / "x")

    numbers = json.loads((tmp_path / "x" / "latency_sweep.json").read_text())
    assert page == tmp_path / "x" / "index.html"
    assert [run["pnl"] for run in numbers["runs"]] == [run.outcome.pnl for run in swept.runs]
    assert "Latency" not in numbers["settings"]
    assert "900ms" in page.read_text()


def refuse(settings: BacktestSettings) -> BacktestResult:
    raise AssertionError(f"expected no run, got one with {settings}")


def test_a_latency_that_cannot_be_run_is_refused_before_any_is(plan: Plan) -> None:
    with pytest.raises(BadSetting, match="latency_ns of at most max_age_ns"):
        sweep_latencies(refuse, plan.settings, [0, 2000 * MS])


def test_split_traffic_is_refused(plan: Plan) -> None:
    with pytest.raises(BadSetting, match="no traffic in a sweep"):
        sweep_latencies(refuse, replace(plan.settings, traffic="sqlite:///x"), [0, MS])
