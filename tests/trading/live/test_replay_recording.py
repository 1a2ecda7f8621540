"""A replay adds one constant to all times, and history and stream together are the recording."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.model.data import Bar, QuoteTick, TradeTick

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades
from nautilus_torchserve.trading.instruments.instruments import quote_ticks, trade_ticks
from nautilus_torchserve.trading.live.replay.recording import RecordedBars, RecordedTicks


@pytest.fixture(scope="module")
def trades() -> Trades:
    return load(None, trades=200, seed=3)


@pytest.fixture(scope="module")
def bars() -> list[Bars]:
    """Two instruments, of which the second misses every third bar."""
    first, second = load_bars(None, 60, 1), load_bars(None, 60, 2)
    kept = np.arange(60) % 3 > 0
    arrays = ("ts_event", "open", "high", "low", "close", "volume")
    gappy = replace(second, **{name: getattr(second, name)[kept] for name in arrays})
    return [first, replace(gappy, instrument=Instrument("OTHERUSD", "SIM", 2, 3))]


@settings(max_examples=20, deadline=None)
@given(warm_up=st.integers(0, 199), shift_ns=st.integers(0, 10**17))
def test_history_and_stream_are_the_recording_shifted(trades: Trades, warm_up: int, shift_ns: int) -> None:
    recording = RecordedTicks(trades, warm_up)
    whole = replace(trades, ts_event=trades.ts_event + shift_ns, ts_init=trades.ts_init + shift_ns)

    past = recording.past(TradeTick, recording.instruments[0].id, shift_ns)
    moments = list(recording.moments(shift_ns))

    assert past + [events[0] for _, events in moments] == trade_ticks(whole)
    assert [events[1] for _, events in moments] == quote_ticks(whole)[warm_up:]
    assert [ts for ts, _ in moments] == whole.ts_init[warm_up:].tolist()


def test_bars_of_one_time_come_before_its_quotes(bars: list[Bars]) -> None:
    recording = RecordedBars(bars, warm_up=5, spread_bps=1.0)

    moments = list(recording.moments(shift_ns=10**15))

    assert [ts for ts, _ in moments] == sorted({ts for ts, _ in moments})
    kinds = [[type(event) for event in events] for _, events in moments]
    assert all(of_bar == sorted(of_bar, key=[Bar, QuoteTick].index) for of_bar in kinds)
    played = [event for _, events in moments for event in events if isinstance(event, Bar)]
    assert len(played) == sum(len(series) - 5 for series in bars)
    assert {event.ts_event - 10**15 for event in played} <= set(bars[0].ts_event.tolist())


def test_history_of_bars_is_requested_by_type(bars: list[Bars]) -> None:
    recording = RecordedBars(bars, warm_up=5, spread_bps=1.0)
    played = [event for _, events in recording.moments(0) for event in events if isinstance(event, Bar)]
    of_type = next(bar.bar_type for bar in played if bar.bar_type.instrument_id.symbol.value == "OTHERUSD")

    past = recording.past(Bar, of_type, shift_ns=7)

    assert [bar.ts_event for bar in past] == (bars[1].ts_event[:5] + 7).tolist()
    assert recording.past(Bar, of_type.instrument_id, shift_ns=7) == []


def test_a_warm_up_that_leaves_nothing_is_refused(trades: Trades, bars: list[Bars]) -> None:
    with pytest.raises(BadData, match="expected more than 200 trades to warm up on, got 200"):
        RecordedTicks(trades, 200)
    with pytest.raises(BadData, match="expected more than 40 bars to warm up on, got 40"):
        RecordedBars(bars, 40, spread_bps=1.0)


def test_trades_are_of_the_instrument(trades: Trades) -> None:
    recording = RecordedTicks(trades, 10)

    (instrument,) = recording.instruments
    trade = next(recording.moments(0))[1][0]

    assert isinstance(trade, TradeTick)
    assert trade.instrument_id == instrument.id
    assert recording.sha256 == trades.sha256
