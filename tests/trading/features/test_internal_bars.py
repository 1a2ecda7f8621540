"""Bars that are made before a run are those of NautilusTrader's engine, at the same places among the trades."""

from typing import Any

import pytest
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.objects import Money

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.arrays import MarketData, load_market_data
from nautilus_torchserve.trading.features.internal_bars import InternalBars
from nautilus_torchserve.trading.features.stream import event_streams, merge, series_streams
from nautilus_torchserve.trading.instruments.instruments import implied, trade_ticks

KINDS = ("10-SECOND-LAST", "1-MINUTE-LAST", "7-TICK-LAST", "3-VOLUME-LAST", "100000-VALUE-LAST")


@pytest.fixture(scope="module")
def market() -> MarketData:
    return load_market_data([load(None, trades=800, seed=3)])


class Listener(Actor):
    """Records trades and bars in the order of their receipt."""

    def __init__(self, bar_type: BarType) -> None:
        super().__init__()
        self.bar_type = bar_type
        self.received: list[Any] = []

    def on_start(self) -> None:
        self.subscribe_bars(self.bar_type)
        self.subscribe_trade_ticks(self.bar_type.instrument_id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        self.received.append(tick)

    def on_bar(self, bar: Bar) -> None:
        self.received.append(bar)


def from_engine(market: MarketData, bar_type: BarType) -> list[Any]:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    (trades,), (instrument,) = market.series, market.instruments
    listener = Listener(bar_type)
    try:
        engine.add_venue(
            instrument.id.venue, OmsType.NETTING, AccountType.MARGIN, starting_balances=[Money(1_000, USD)]
        )
        engine.add_instrument(instrument)
        engine.add_actor(listener)
        engine.add_data(trade_ticks(trades))
        engine.run()
    finally:
        engine.dispose()
    return listener.received


@pytest.mark.parametrize("kind", KINDS)
def test_bars_and_trades_come_in_the_engines_order(market: MarketData, kind: str) -> None:
    (trades,), (instrument,) = market.series, market.instruments
    bar_type = BarType.from_str(f"{instrument.id}-{kind}-INTERNAL")

    streamed = [
        data
        for chunk in merge(event_streams(trades, instrument), InternalBars([bar_type], [instrument]))
        for data in chunk
    ]

    expected = from_engine(market, bar_type)
    assert [type(data) for data in streamed] == [type(data) for data in expected]
    assert [Bar.to_dict(data) for data in streamed if isinstance(data, Bar)] == [
        Bar.to_dict(data) for data in expected if isinstance(data, Bar)
    ]
    assert sum(isinstance(data, Bar) for data in streamed) > 2


def test_bars_that_cannot_be_made_are_refused(market: MarketData) -> None:
    (instrument,) = market.instruments

    with pytest.raises(BadSetting, match=r"expected data of ETHUSD.SIM, which ETHUSD.SIM-1-MINUTE-LAST-INTERNAL"):
        InternalBars([BarType.from_str("ETHUSD.SIM-1-MINUTE-LAST-INTERNAL")], [instrument])
    with pytest.raises(BadSetting, match="expected bars by time, ticks, volume or value, made of trades or quotes"):
        InternalBars([BarType.from_str(f"{instrument.id}-5-MINUTE-LAST-INTERNAL@1-MINUTE-EXTERNAL")], [instrument])


@pytest.mark.parametrize("kind", KINDS)
def test_bars_closed_by_a_timer_are_those_closed_by_the_next_trade(market: MarketData, kind: str) -> None:
    (trades,), (instrument,) = market.series, market.instruments
    bar_type = BarType.from_str(f"{instrument.id}-{kind}-INTERNAL")
    by_trade, by_timer = (InternalBars([bar_type], [instrument]) for _ in range(2))

    expected, closed = [], []
    for tick in trade_ticks(trades):
        closed += by_timer.close_until(tick.ts_init // 10**9 * 10**9)
        closed += by_timer.add(tick)
        expected += by_trade.add(tick)

    assert list(map(Bar.to_dict, closed)) == list(map(Bar.to_dict, expected))
    assert len(closed) > 2


def test_bars_close_after_the_last_trade_until_a_given_time(market: MarketData) -> None:
    (trades,), (instrument,) = market.series, market.instruments
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-INTERNAL")
    last_ns = int(trades.ts_init[-1])

    with_it, later = (
        [data for chunk in merge(market.streams(), InternalBars([bar_type], [instrument]), until_ns) for data in chunk]
        for until_ns in (None, last_ns + 90 * 10**9)
    )

    assert later[: len(with_it)] == with_it
    assert [type(data) for data in later[len(with_it) :]] == [Bar]
    assert last_ns < later[-1].ts_event <= last_ns + 60 * 10**9


@pytest.mark.parametrize("is_reversed", [False, True])
def test_quotes_come_before_the_trades_of_their_time(market: MarketData, is_reversed: bool) -> None:
    (trades,), (instrument,) = market.series, market.instruments
    series = [trades, implied(trades)]

    streams = series_streams(series[::-1] if is_reversed else series, [instrument] * 2)

    first, second = (data for data in next(merge(streams, InternalBars([], [instrument])))[:2])
    assert (type(first), type(second)) == (QuoteTick, TradeTick)
    assert first.ts_init == second.ts_init
