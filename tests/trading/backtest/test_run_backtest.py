"""Whole backtests: the same twice, no look-ahead, books that add up, and a model that goes away."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nautilus_torchserve.market.trades.labels import UNKNOWN, label
from nautilus_torchserve.market.trades.trades import BadData, Trades, implied_quotes
from nautilus_torchserve.reporting.backtest.summary import summarize
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.report import report_data, summary
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting

CUT = 3000


@pytest.fixture(scope="module")
def whole(market: Trades, settings: BacktestSettings) -> BacktestResult:
    return run_backtest(market, settings)


def without_latency(predictions: pd.DataFrame) -> pd.DataFrame:
    """All but the wall time, which is another each time."""
    return predictions.drop(columns="latency_ns")


def test_two_runs_give_the_same(whole: BacktestResult, market: Trades, settings: BacktestSettings) -> None:
    again = run_backtest(market, settings)

    pd.testing.assert_frame_equal(without_latency(again.predictions), without_latency(whole.predictions))
    pd.testing.assert_frame_equal(again.fills, whole.fills)
    assert len(whole.fills) > 10


def test_the_future_changes_no_earlier_prediction_or_order(
    whole: BacktestResult, market: Trades, settings: BacktestSettings
) -> None:
    cut = run_backtest(market.between(0, CUT), settings)
    other_future = replace(market, price=np.concatenate([market.price[:CUT], market.price[CUT:][::-1]]))
    other = run_backtest(other_future, settings)

    until = market.ts_init[CUT - 1]
    assert len(cut.predictions) > CUT - 50
    for run in (cut, other):
        for name, column in (("predictions", "ts_init"), ("fills", "ts_ns")):
            expected = before(getattr(whole, name), column, until)
            pd.testing.assert_frame_equal(before(getattr(run, name), column, until), expected)
    assert len(before(whole.fills, "ts_ns", until)) > 5


def before(table: pd.DataFrame, column: str, until: int) -> pd.DataFrame:
    return table[table[column] < until].drop(columns="latency_ns", errors="ignore")


def test_every_fill_is_at_the_other_sides_quote_and_one_or_two_steps_worse(whole: BacktestResult) -> None:
    fills, trades = whole.fills, whole.instruments[0].data
    last = np.searchsorted(trades.ts_init, fills["ts_ns"].to_numpy(), side="right") - 1
    bid, ask = implied_quotes(trades)
    price = np.round(fills["price"].to_numpy() * 100).astype(np.int64)

    steps_worse = np.where(fills["side"] == "BUY", price - ask[last], bid[last] - price)

    first_of_its_order = ~fills["ts_ns"].duplicated()  # what the quote's size did not cover fills after it
    assert set(steps_worse[first_of_its_order]) == {1}
    assert set(steps_worse[~first_of_its_order]) == {2}


def test_every_amount_is_the_sum_of_the_fills_own_arithmetic(market: Trades, settings: BacktestSettings) -> None:
    result = run_backtest(market, replace(settings, trade_size=Decimal("0.01")))  # fees of less than a cent each

    fills = result.fills
    bought = np.where(fills["side"] == "BUY", 1, -1) * fills["quantity"].map(str).map(Decimal)
    price = fills["price"].map(str).map(Decimal)
    fees = (abs(bought) * price * Decimal(str(result.instruments[0].definition.fee_bps)) / 10_000).sum()
    made = float(-(bought * price).sum() - fees)
    fields = summary(settings, result)
    assert bought.sum() == 0
    assert fields["fees"] == pytest.approx(float(fees), abs=1e-8)
    for number in (
        fields["pnl"],
        fields["balance"] - float(settings.starting_balance),
        result.equity["equity"].iloc[-1] - float(settings.starting_balance),
        result.statistics["PnL (USD)"]["PnL (total)"],
        sum(trade.pnl for trade in result.past_trades),
        summarize(report_data(settings, result, result.instruments[0]))["pnl"],
    ):
        assert number == pytest.approx(made, abs=1e-8)
    assert result.positions == result.orders - 1  # each order but the first closes what is held


def test_by_default_the_fits_data_are_left_out(market: Trades, settings: BacktestSettings) -> None:
    result = run_backtest(market, replace(settings, in_sample=False))

    last = result.metadata.training.last_ts_event
    assert result.instruments[0].data.ts_event[0] > last
    assert len(result.instruments[0].data) == (market.ts_event > last).sum() < len(market)
    with pytest.raises(BadData, match="as the model's fit saw"):
        run_backtest(market.between(0, CUT), replace(settings, in_sample=False))


def test_the_report_scores_each_prediction_by_its_own_trade(whole: BacktestResult, settings: BacktestSettings) -> None:
    data = report_data(settings, whole, whole.instruments[0])

    labels = label(whole.instruments[0].data.price, **whole.metadata.document["label"])
    np.testing.assert_array_equal(data.actual, labels[whole.predictions["trade"]])
    assert (data.actual == UNKNOWN).sum() == whole.metadata.move_label.horizon - whole.not_arrived
    assert data.notes[0].startswith("IN SAMPLE")
    assert data.warnings == data.notes[:1]
    assert summary(settings, whole)["in_sample"] is True
    figures = summarize(data)
    assert figures["pnl"] == pytest.approx(summary(settings, whole)["pnl"])
    assert figures["arrival_ms"]["p99"] == pytest.approx(settings.latency_ns / 1e6)


def test_too_few_trades_are_refused(market: Trades, settings: BacktestSettings) -> None:
    with pytest.raises(BadData, match="expected more than 32 trades to run on, got 32"):
        run_backtest(market.between(0, 32), settings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latency_ns": 2, "max_age_ns": 1}, "latency_ns of at most max_age_ns = 1 .* got 2"),
        ({"fee_bps": -1.0}, "expected fee_bps of at least 0, got -1"),
        ({"starting_balance": Decimal(0)}, "expected a starting_balance .* above 0, .*, got 0"),
        ({"starting_balance": Decimal("NaN")}, "expected a starting_balance .* above 0, .*, got NaN"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        BacktestSettings(**{"url": "mar:tick.mar", **wrong})


def test_over_http_the_same_as_in_process(
    market: Trades, tick_archive: Path, settings: BacktestSettings, served: BacktestSettings
) -> None:
    few = market.between(0, 600)

    over_http, in_process = run_backtest(few, served), run_backtest(few, replace(settings, url=f"mar:{tick_archive}"))

    pd.testing.assert_frame_equal(without_latency(over_http.predictions), without_latency(in_process.predictions))
    pd.testing.assert_frame_equal(over_http.fills, in_process.fills)


def test_model_that_goes_away_ends_requests_and_is_reported(
    market: Trades, tick_server: TorchServe, tick_archive: Path, served: BacktestSettings
) -> None:
    manager = tick_server.management()
    manager.register(tick_archive.name, model_name="tick-going", initial_workers=1)
    manager.wait_ready("tick-going", "1.0")

    result = run_backtest(
        market.between(0, 640), replace(served, model="tick-going", max_failures=3), going_away(manager.unregister)
    )

    assert result.gave_up
    assert result.failed == 3
    assert "UnknownModel" in result.last_error
    assert len(result.predictions) == len(set(result.predictions["trade"]))
    assert result.predictions["trade"].iloc[-1] < 400
    assert report_data(served, result, result.instruments[0]).notes[0].startswith("THE MODEL STOPPED ANSWERING")


def going_away(unregister: Callable[[str], None]) -> Callable[[int, int], None]:
    """Unregister the model halfway."""

    def on_progress(done: int, total: int) -> None:
        if done == total // 2:
            unregister("tick-going")

    return on_progress


@pytest.fixture
def served(tick_server: TorchServe, settings: BacktestSettings, monkeypatch: pytest.MonkeyPatch) -> BacktestSettings:
    """Over the running server."""
    assert tick_server.token is not None
    monkeypatch.setenv(settings.token_env, tick_server.token)
    return replace(settings, url=tick_server.inference_url)
