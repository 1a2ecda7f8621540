"""Whole backtests on instruments as they are defined: fills on ticks, whole contracts, the account's currency."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bar_support import market as bars_of
from definition_support import DEFINED
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.trades.catalog import load_catalog
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.report import report_data, summary
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import trade_ticks
from nautilus_torchserve.trading.instruments.options import InstrumentOptions


def named(market: Trades, name: str, tick: str, base: str) -> Trades:
    """The simulated trades as another instrument's: its ticks, and whole sizes."""
    symbol, _, venue = name.rpartition(".")
    precision = -int(Decimal(tick).normalize().as_tuple().exponent)
    steps = int(Decimal(tick).scaleb(precision))
    start = int(Decimal(base) / Decimal(tick))
    price = (start + (market.price - market.price[0])) * steps
    return replace(
        market,
        instrument=Instrument(symbol, venue, precision, 0),
        price=price,
        size=market.size // 100 + 1,
    )


CASES = [
    ("XBTUSD.BITMEX", "0.5", "8500", "1000", "BTC", {}),
    ("ESM4.CME", "0.25", "5300", "2", "USD", {}),
    ("6EM4.CME", "0.00005", "1.08", "1", "USD", {}),
    ("BTC_USDT.GATE-IO", "0.1", "61000", "1", "USDT", {"tick_size": Decimal("0.1")}),
    ("AAPL.NASDAQ", "0.01", "190", "10", "USD", {"currency": "USD"}),
]


@pytest.mark.parametrize(("name", "tick", "base", "size", "currency", "options"), CASES)
def test_fills_lie_on_ticks_and_are_the_same_in_both_modes(
    name: str, tick: str, base: str, size: str, currency: str, options: dict, market: Trades, settings: BacktestSettings
) -> None:
    data = named(market.between(0, 700), name, tick, base)
    ours = replace(settings, trade_size=Decimal(size), min_probability=0.34, instruments=InstrumentOptions(**options))

    inline = run_backtest(data, ours)
    prefetched = run_backtest(data, replace(ours, mode="prefetch"))

    assert len(inline.fills) > 10
    pd.testing.assert_frame_equal(inline.fills, prefetched.fills)
    for price in inline.fills["price"]:
        assert Decimal(str(round(price, 9))) % Decimal(tick) == 0
    assert inline.currency == currency
    assert inline.instruments[0].data.instrument.instrument_id == name
    fields = summary(ours, inline)
    assert fields["instrument_id"] == name
    assert fields["definition"]["tick_size"]["value"] == tick
    page = report_data(ours, inline, inline.instruments[0])
    assert page.instrument_id == name
    assert page.data["Tick size"].startswith(tick)


def test_a_catalogs_future_is_traded_in_its_ticks_multiplier_and_fees(
    market: Trades, settings: BacktestSettings, tmp_path: Path
) -> None:
    data = named(market.between(0, 800), "ESH5.GLBX", "0.25", "5300")
    catalog = ParquetDataCatalog(tmp_path)
    catalog.write_data([DEFINED["future"]])
    catalog.write_data(trade_ticks(data))
    own = replace(settings, trade_size=Decimal(1), min_probability=0.34, starting_balance=Decimal(100_000))

    result = run_backtest(load(tmp_path, 0, 1), own)

    assert load_catalog(tmp_path).catalog is None  # whoever loads says where from
    assert result.instruments[0].definition.origins["multiplier"] == f"catalog {tmp_path.name}"
    assert result.fills["fee"].sum() == 0  # as the catalog defines it
    closed = result.past_trades[0]
    points = (closed.price_closed - closed.price_opened) * (1 if closed.side == "BUY" else -1)
    assert closed.pnl == pytest.approx(50 * points, abs=0.005)
    with pytest.raises(BadSetting, match=r"expected a starting_balance of at least 13\d{3}.* USD, the margin of"):
        run_backtest(load(tmp_path, 0, 1), replace(own, starting_balance=Decimal(10_000)))
    with pytest.raises(BadSetting, match=r"expected a trade_size in steps of 1 for ESH5.GLBX, got 0.5; --size sets it"):
        run_backtest(load(tmp_path, 0, 1), replace(own, trade_size=Decimal("0.5")))


def test_bars_of_a_future_meet_quotes_on_its_ticks(bar_settings: BarBacktestSettings) -> None:
    bars = in_ticks(bars_of(count=200), 25)
    ours = replace(bar_settings, trade_size=Decimal(1), cost_bps=0.0, starting_balance=Decimal(1_000_000))

    inline = run_backtest([bars], ours)
    prefetched = run_backtest([bars], replace(ours, mode="prefetch"))

    (inline_result,), (prefetched_result,) = inline.instruments, prefetched.instruments
    assert len(inline_result.fills) > 20
    assert (inline_result.fills["price"] * 4 % 1 == 0).all()
    pd.testing.assert_frame_equal(inline_result.fills, prefetched_result.fills)
    assert json.dumps(summary(ours, inline)["instruments"][0]["definition"])
    assert "contract table: CME" in report_data(ours, inline, inline_result).data["Multiplier"]


def in_ticks(bars: Bars, steps: int) -> Bars:
    """The bars as an ES future's, on ticks of so many steps."""
    rounded = {name: np.maximum(getattr(bars, name) // steps, 1) * steps for name in PRICES}
    return replace(bars, instrument=Instrument("ESM4", "CME", 2, 3), **rounded)
