"""A name runs to its fills, or is refused before the run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bar_support import market as bars_of
from definition_support import trades_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nautilus_trader.model.identifiers import InstrumentId, StrategyId
from trading_support import trade

from nautilus_torchserve.market.trades.trades import BadData, Instrument
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.instruments.instruments import quote_ticks, trade_ticks, write_catalog
from nautilus_torchserve.trading.instruments.names import engine_id, order_id_tag
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.instruments.resolve import resolve
from nautilus_torchserve.trading.prediction import Prediction
from strategies.tick_strategy import TickStrategy, TickStrategyConfig

NAMES = st.text(alphabet="ABZbtc019-_./:+#!=^$& *?'%Ö中\n", min_size=1, max_size=8)
PRICES = ["100.25", "100.5", "100", "100.25"] * 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(symbol=NAMES, venue=NAMES.filter(lambda name: "." not in name))
def test_a_name_is_traded_or_refused_before_the_run(symbol: str, venue: str, tmp_path: Path) -> None:
    data = trades_at(PRICES, symbol, venue, ["10"])
    try:
        instrument = resolve(data, InstrumentOptions(currency="USD")).instrument
    except BadData:
        return
    same = conform(data, instrument)
    when = int(data.ts_event[5])
    buy = Prediction(
        ts_event=when,
        ts_init=when + 1,
        instrument_id=instrument.id,
        model="tick",
        version="1.0",
        archive_digest="0",
        outputs={"buy": 0.9, "sell": 0.05, "hold": 0.05},
        feature_ts=when,
        latency_ns=1,
    )
    strategy = TickStrategy(TickStrategyConfig(instrument_id=instrument.id, trade_size=instrument.size_increment))

    done = trade(strategy, instrument, [trade_ticks(same), quote_ticks(same, tick_steps(instrument))], [buy])

    assert [order.status_string() for order in done.orders] == ["FILLED", "FILLED"]  # closed at the stop
    assert InstrumentId.from_str(instrument.id.value) == instrument.id
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    write_catalog(same, instrument, folder)  # a slash or a wildcard in a name is no path


@given(symbol=NAMES, venue=NAMES)
def test_names_for_the_engine_are_those_of_the_data_but_for_two_characters(symbol: str, venue: str) -> None:
    try:
        identifier = engine_id(symbol, venue)
    except BadData:
        return

    assert identifier.symbol.value == symbol.replace("_", "-")
    assert identifier.venue.value == venue.replace("-", "_").replace(".", "_")


def test_strategies_on_instruments_with_one_ending_have_tags_of_their_own() -> None:
    ids = [InstrumentId.from_str(name) for name in ("BTC-PERP.DERIBIT", "ETH-PERP.DERIBIT", "A-B-PERP.DERIBIT")]

    tags = [StrategyId(f"BarStrategy-{order_id_tag(each)}").get_tag() for each in ids]

    assert len(set(tags)) == len(ids)


@pytest.mark.parametrize("mode", ["inline", "prefetch"])
def test_hyphens_and_underscores_reach_their_fills_and_reports_keep_them(
    mode: str, bar_settings: BarBacktestSettings
) -> None:
    coins = ("BTC_USDT", "ETH_USDT")
    pair = [
        replace(bars_of(seed=seed, count=120), instrument=Instrument(symbol, "GATE-IO", 2, 3))
        for seed, symbol in enumerate(coins)
    ]

    result = run_backtest(pair, replace(bar_settings, mode=mode, cost_bps=0.0))

    assert [instrument.data.instrument.instrument_id for instrument in result.instruments] == [
        f"{coin}.GATE-IO" for coin in coins
    ]
    assert [instrument.definition.instrument.id.value for instrument in result.instruments] == [
        "BTC-USDT.GATE_IO",
        "ETH-USDT.GATE_IO",
    ]
    for instrument in result.instruments:
        assert instrument.orders > 10
        assert len(instrument.fills) >= instrument.orders
        assert np.isfinite(instrument.equity["equity"]).all()


def test_names_that_become_one_are_refused(bar_settings: BarBacktestSettings) -> None:
    pair = [replace(bars_of(), instrument=Instrument(symbol, "X", 2, 3)) for symbol in ("BTC_USDT", "BTC-USDT")]

    with pytest.raises(BadData, match=r"instruments that NautilusTrader can tell apart, got BTC-USDT.X, BTC-USDT.X"):
        run_backtest(pair, bar_settings)
