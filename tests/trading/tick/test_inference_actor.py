"""The tick actor: its requests, the arrival of its predictions, and refused settings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.model.identifiers import InstrumentId
from trade_market import inline_config, trade_market

from nautilus_torchserve.features.tick import WINDOW, tick_features
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.market import CLASSES
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import trade_ticks
from nautilus_torchserve.trading.tick.actor import InferenceActor, InferenceActorConfig
from nautilus_torchserve.wire.errors import SchemaMismatch

INSTRUMENT_ID = InstrumentId.from_str("SIMUSD.SIM")


def seconds_only(trades: Trades) -> Trades:
    """The same trades with times in whole seconds, so that many share one."""
    second = trades.ts_event // 10**9 * 10**9
    return replace(trades, ts_event=second, ts_init=second)


@pytest.mark.parametrize("change", [lambda trades: trades, seconds_only], ids=["own times", "shared times"])
def test_streamed_predictions_equal_vectorised_ones_bit_for_bit(
    market: Trades, settings: BacktestSettings, change: Callable[[Trades], Trades]
) -> None:
    trades = change(market.between(0, 3000))

    predictions = run_backtest(trades, settings).predictions

    rows = tick_features(trades.price, trades.size, trades.side, trades.ts_event)
    with connect(settings.url, "tick") as client:
        outputs = client.predict(rows[predictions["trade"]]).outputs
    for name in CLASSES:
        np.testing.assert_array_equal(predictions[name].to_numpy().view(np.uint32), outputs[name].view(np.uint32))
    assert len(predictions) > 2900


@pytest.mark.parametrize("latency_ns", [0, 1, 1_000_000, 40_000_000])
def test_each_prediction_arrives_exactly_the_latency_after_its_trade(
    market: Trades, settings: BacktestSettings, latency_ns: int
) -> None:
    trades = market.between(0, 1000)

    result = run_backtest(trades, replace(settings, latency_ns=latency_ns))

    position = result.predictions["trade"].to_numpy()
    np.testing.assert_array_equal(result.predictions["ts_event"], trades.ts_event[position])
    np.testing.assert_array_equal(result.predictions["ts_init"], trades.ts_init[position] + latency_ns)
    np.testing.assert_array_equal(position, np.arange(WINDOW, WINDOW + len(position)))
    assert len(position) + result.not_arrived == len(trades) - WINDOW
    filled = result.fills["ts_ns"]
    assert set(filled[filled < trades.ts_init[-1]]) <= set(result.predictions["ts_init"])  # all but closing at the end
    assert len(filled) > 10


def test_trades_of_more_decimals_than_their_instruments_are_not_cut(market: Trades) -> None:
    trades = market.between(0, 100)
    ticks = trade_ticks(trades)
    actor = InferenceActor(InferenceActorConfig(instrument_id=INSTRUMENT_ID, url="mar:tick.mar"))
    actor._price_step, actor._size_step = 10**16, 10**16  # as for an instrument of whole numbers

    rows = [actor._row(tick) for tick in ticks]

    expected = tick_features(trades.price, trades.size, trades.side, trades.ts_event)
    np.testing.assert_array_equal(np.array(rows[WINDOW:], dtype=np.float32), expected[WINDOW:])


def test_a_window_other_than_the_models_is_refused_at_the_start(
    market: Trades, settings: BacktestSettings, tmp_path: Path
) -> None:
    node = BacktestNode([inline_config(trade_market(market.between(0, 100), settings), tmp_path, window=16)])

    try:
        with pytest.raises(SchemaMismatch, match=r"tick/1 over 16 events .* got one trained on tick/1 over 32"):
            node.run()
    finally:
        node.dispose()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latency_ns": -1}, "expected latency_ns of at least 0, got -1"),
        ({"latency_workers": 0}, "expected latency_workers of at least 1, got 0"),
        ({"warm_up_ns": -1}, "expected warm_up_ns of at least 0, got -1"),
        ({"url": "ftp://x"}, "expected url beginning with http://.* got 'ftp://x'"),
        ({"window": 0}, "expected window of at least 1 trade, got 0"),
        ({"timeout_s": 0.0}, "expected timeout_s above 0, got 0"),
        ({"max_failures": 0}, "expected max_failures of at least 1, got 0"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        InferenceActorConfig(**{"instrument_id": INSTRUMENT_ID, "url": "mar:tick.mar", **wrong})
