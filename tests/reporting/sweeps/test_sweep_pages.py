"""The pages of sweeps: over latencies, and over settings."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_elements import Elements

from nautilus_torchserve.reporting.sweeps.grid_page import selection_bias, write_sweep
from nautilus_torchserve.reporting.sweeps.latency_page import latency_cost, positions, write_latency_sweep

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&$title"
SUBJECT = {
    "model": "tick",
    "version": "1.0",
    "digest": "ab" * 32,
    "instrument_ids": ["BTCUSDT.BINANCE"],
    "sources": ["trades.csv"],
    "simulated": False,
    "sample": "The 3,000 trades after the last that the fit saw.",
    "currency": "USDT",
}
LABELS = ["0", "1ms", "100ms"]


def latency_sweep(**changed: Any) -> dict[str, Any]:
    runs = [
        {
            "latency_ns": latency_ns,
            "pnl": pnl,
            "fees": 10.0,
            "orders": orders,
            "fills": orders,
            "failed": 0,
            "max_drawdown": -99.5,
            "ruined": False,
            "mean_age_ns": latency_ns + 2_500_000,
            "too_old": too_old,
            "gave_up": False,
        }
        for latency_ns, pnl, orders, too_old in (
            (0, 41.5, 1234, 0.0),
            (1_000_000, 37.25, 1230, 0.0),
            (100_000_000, -12.0, 987, 0.125),
        )
    ]
    cost = {"from_ns": 0, "to_ns": 1_000_000, "per_ms": 4.25}
    return {**SUBJECT, "runs": runs, "millisecond_cost": cost, **changed}


def settings_sweep(**changed: Any) -> dict[str, Any]:
    trials = [
        {
            "settings": {"min_probability": first, "latency_ns": second},
            "pnl": pnl,
            "fees": 2.0,
            "orders": 1234,
            "max_drawdown": -9.5,
            "ruined": False,
            "positions": 617,
            "too_old": 0.0,
            "sharpe": 0.0625,
            "error": "",
        }
        for first, second, pnl in (("0.4", "1ms", 50.5), ("0.45", "1ms", 7.75), ("0.4", "5ms", -3.5))
    ]
    trials.append({"settings": {"min_probability": "0.45", "latency_ns": "5ms"}, "sharpe": None, "error": "no answer"})
    return {
        "subject": SUBJECT,
        "grid": {"min_probability": ["0.4", "0.45"], "latency_ns": ["1ms", "5ms"]},
        "possible": 4,
        "tried": 4,
        "failed": 1,
        "deflated_sharpe": 0.61,
        "sharpe_periods": 250,
        "trials": trials,
        **changed,
    }


def read(page: Path) -> Elements:
    return Elements(page.read_text(encoding="utf-8"))


def test_latency_page_shows_every_run_and_stands_alone(tmp_path: Path) -> None:
    page = write_latency_sweep(latency_sweep(), LABELS, {"Fee on each fill": "0.5 bps"}, tmp_path / "new")

    elements = read(page)
    losses = ("\N{MINUS SIGN}12.00", "\N{MINUS SIGN}53.50")
    for text in ("+41.50", "+37.25", *losses, "1,234", "12.50%", "102.50", "0.5 bps"):
        assert text in elements.text
    assert "SIMULATED" not in elements.text
    assert sorted(file.name for file in page.parent.iterdir()) == ["index.html", "latency_sweep.json"]
    assert json.loads((page.parent / "latency_sweep.json").read_bytes())["runs"] == latency_sweep()["runs"]
    outside = [
        value for _, attributes in elements.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert outside == []


def test_latency_figure_draws_the_runs_in_order(tmp_path: Path) -> None:
    figure = read(write_latency_sweep(latency_sweep(), LABELS, {}, tmp_path)).figures["latency-sweep"]

    before, after = figure["data"]
    assert numbers(after["y"]) == [41.5, 37.25, -12.0]
    assert numbers(before["y"]) == [51.5, 47.25, -2.0]
    assert figure["layout"]["xaxis"]["ticktext"] == LABELS


def numbers(values: Any) -> list[float]:
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
    return values


def test_zero_stands_left_of_the_least_latency_above_it() -> None:
    at = positions(np.array([0, 1_000_000, 10_000_000, 1_000_000_000]))

    assert at[0] < at[1]
    assert np.diff(at[1:]).tolist() == pytest.approx([1, 2])
    assert np.diff(positions(np.array([1, 10]))).tolist() == pytest.approx([1])


@pytest.mark.parametrize(
    ("per_ms", "sentence"),
    [
        (4.25, "Each millisecond of latency costs 4.25 USDT between 0 and 1ms."),
        (-0.5, "Each millisecond of latency gains 0.5 USDT between 0 and 1ms."),
        (0.0, "Latency costs nothing between 0 and 1ms: both runs end with the same P&L."),
    ],
)
def test_cost_of_a_millisecond_comes_with_its_estimation(per_ms: float, sentence: str) -> None:
    sweep = latency_sweep(millisecond_cost={"from_ns": 0, "to_ns": 1_000_000, "per_ms": per_ms})

    cost, estimation = latency_cost(sweep, LABELS)

    assert cost == sentence
    assert "straight line" in estimation


def test_page_begins_with_problems_of_the_runs(tmp_path: Path) -> None:
    sweep = latency_sweep(simulated=True)
    sweep["runs"][1]["gave_up"] = True
    sweep["runs"][2]["ruined"] = True
    sweep["runs"][2].update(mean_age_ns=None, too_old=None)

    text = read(write_latency_sweep(sweep, LABELS, {}, tmp_path)).text

    assert "SIMULATED MARKET." in text
    assert "THE MODEL STOPPED ANSWERING in the runs with a latency of 1ms" in " ".join(text.split())
    assert "RUINED: equity fell to zero or below in the runs with a latency of 100ms" in " ".join(text.split())


def test_sweep_page_ranks_runs_and_names_failures_and_selection_bias(tmp_path: Path) -> None:
    page = write_sweep(settings_sweep(), {"Latency": "1ms"}, tmp_path / "new")

    elements = read(page)
    text = elements.text
    assert "Most profitable: min_probability 0.4, latency_ns 1ms, P&L +50.50 USDT" in text
    assert text.index("+52.50") < text.index("+9.75") < text.index("failed: no answer")
    assert "It is the best of 3 runs on the same data" in text
    assert "is 0.61: the probability" in text
    assert "1 of 4 combinations failed" in text
    assert json.loads((page.parent / "sweep.json").read_bytes())["trials"] == settings_sweep()["trials"]


def test_two_settings_make_a_matrix_painted_by_profit(tmp_path: Path) -> None:
    elements = read(write_sweep(settings_sweep(), {}, tmp_path)).tags

    painted = [attributes["style"] for tag, attributes in elements if tag == "td" and "style" in attributes][:3]
    assert [style.partition(",")[2] for style in painted if style] == [
        " var(--buy) 55%, var(--card))",
        " var(--sell) 4%, var(--card))",
        " var(--buy) 8%, var(--card))",
    ]


def test_one_setting_makes_no_matrix(tmp_path: Path) -> None:
    one = settings_sweep(grid={"min_probability": ["0.4", "0.45"], "latency_ns": ["1ms"]})
    one["trials"] = one["trials"][:2]

    assert "P&L matrix" not in read(write_sweep(one, {}, tmp_path)).text


def test_sampled_combinations_name_the_grid_size(tmp_path: Path) -> None:
    text = read(write_sweep(settings_sweep(possible=5000), {}, tmp_path)).text

    assert "sampled from 5,000" in text


def test_one_result_has_no_selection_bias_and_equal_ones_have_no_ratio() -> None:
    assert "no selection bias" in selection_bias(settings_sweep(failed=3))
    assert "deflated" not in selection_bias(settings_sweep(deflated_sharpe=None))


def test_texts_from_outside_are_escaped(tmp_path: Path) -> None:
    subject = {**SUBJECT, "model": HOSTILE, "sample": HOSTILE, "sources": [HOSTILE], "currency": HOSTILE}
    trials = settings_sweep()["trials"]
    trials[3]["error"] = HOSTILE

    for page in (
        write_latency_sweep({**latency_sweep(), **subject}, [HOSTILE, "b", "c"], {HOSTILE: HOSTILE}, tmp_path / "a"),
        write_sweep(settings_sweep(subject=subject, trials=trials), {HOSTILE: HOSTILE}, tmp_path / "b"),
    ):
        elements = read(page)
        assert "img" not in [tag for tag, _ in elements.tags]
        assert HOSTILE in elements.text
