"""Recorded market data as a stream of NautilusTrader's objects, all times shifted by one constant."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects, bar_quote_ticks
from nautilus_torchserve.trading.backtest.quoted import within_quotes
from nautilus_torchserve.trading.bars.types import bar_type, parse_interval
from nautilus_torchserve.trading.instruments.conform import D, conform, tick_steps
from nautilus_torchserve.trading.instruments.instruments import implied, to_quote_ticks, trade_ticks
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.instruments.resolve import resolve, resolve_all
from nautilus_torchserve.trading.live.settings import ReplayMarket

NO_OPTIONS = InstrumentOptions()
CHUNK = 32
"""Trades made into objects at a time: some 0.2 ms, during which the event loop waits."""
Moment = tuple[int, list[Data]]
"""A time, Unix ns, and the data that are received then."""


class RecordedTicks:
    """One instrument's trades, with the quotes that they met or imply; or its quotes alone.

    Parameters
    ----------
    events : Trades or Quotes
        All that is played, the warm-up's too.
    warm_up : int
        Number of events at the beginning that are not played.
    options : InstrumentOptions, optional
        Definition of the instrument beyond its data.
    fee_bps : float, optional
        Fee on each fill; None takes the definition's.
    quotes : Quotes, optional
        Quotes that trades met; None: each trade implies one. Trades outside of their period are left out.

    Raises
    ------
    BadData
        Nothing is left to play after the warm-up, or it is not known what was traded.
    """

    def __init__(
        self,
        events: Trades | Quotes,
        warm_up: int,
        options: InstrumentOptions = NO_OPTIONS,
        fee_bps: float | None = None,
        quotes: Quotes | None = None,
    ) -> None:
        if quotes is not None and isinstance(events, Trades):
            events = within_quotes(events, quotes)
        noun = "quotes" if isinstance(events, Quotes) else "trades"
        if len(events) <= warm_up:
            raise BadData(f"{events.source}: expected more than {warm_up} {noun} to warm up on, got {len(events)}")
        instrument = resolve(events, options, fee_bps).instrument
        self.kind: type[Data] = QuoteTick if isinstance(events, Quotes) else TradeTick
        """Events that are counted."""
        self.instruments = [instrument]
        """Instruments of the recording."""
        self.source = events.source
        """Source of the data."""
        self.sha256 = events.sha256
        """Hash of the values as recorded, the warm-up's too."""
        self.first_ts = int(events.ts_init[warm_up])
        """Time at which the first event after the warm-up was received, as recorded, Unix ns."""
        self._events, self._warm_up = conform(events, instrument), warm_up  # type: ignore[type-var]
        self._quotes = None if quotes is None else conform(quotes, instrument)

    @cached_property
    def _implied(self) -> Quotes | None:
        if self._quotes is not None or isinstance(self._events, Quotes):
            return None
        return implied(self._events, tick_steps(self.instruments[0]))

    def moments(self, shift_ns: int) -> Iterator[Moment]:
        """Yield what is played, in order of time: quotes before the trades that met them, implied ones after theirs."""
        events = _moments([self._events, self._implied], self._warm_up, shift_ns)
        return merge(_moments([self._quotes], self._first_quote, shift_ns), events, key=itemgetter(0))

    @property
    def _first_quote(self) -> int:
        return 0 if self._quotes is None else int(np.searchsorted(self._quotes.ts_init, self.first_ts))

    def past(self, kind: type[Data], subject: InstrumentId | BarType, shift_ns: int) -> list[Any]:
        """Return the trades or quotes of the warm-up; none of another instrument, and no bars."""
        if str(subject) != str(self.instruments[0].id):  # NautilusTrader compares a kind of names with its own alone
            return []
        if kind is self.kind:
            return _ticks(shifted(self._events.between(0, self._warm_up), shift_ns))  # type: ignore[type-var]
        if kind is QuoteTick and self._quotes is not None:
            return _ticks(shifted(self._quotes.between(0, self._first_quote), shift_ns))
        return []


def _moments(series: Sequence[Trades | Quotes | None], first: int, shift_ns: int) -> Iterator[Moment]:
    """Yield the events of each place from ``first`` on, one of each series that there is."""
    known = [data for data in series if data is not None]
    for start in range(first, len(known[0]) if known else 0, CHUNK):
        columns = [_ticks(shifted(data.between(start, start + CHUNK), shift_ns)) for data in known]  # type: ignore[type-var]
        for together in zip(*columns, strict=True):
            yield together[0].ts_init, list(together)


def _ticks(data: Trades | Quotes) -> list[Any]:
    return trade_ticks(data) if isinstance(data, Trades) else to_quote_ticks(data)


class RecordedBars:
    """Bars of several instruments and the quotes around them.

    Parameters
    ----------
    bars : sequence of Bars
        One for each instrument.
    warm_up : int
        Bars of each that are not played.
    spread_bps : float
        Spread of the quotes around them.
    options, fee_bps
        As of `RecordedTrades`.

    Raises
    ------
    BadData
        Nothing is left to play after the warm-up, or it is not known what was traded.
    """

    def __init__(
        self,
        bars: Sequence[Bars],
        warm_up: int,
        spread_bps: float,
        options: InstrumentOptions = NO_OPTIONS,
        fee_bps: float | None = None,
    ) -> None:
        for series in bars:
            if len(series) <= warm_up:
                raise BadData(f"{series.source}: expected more than {warm_up} bars to warm up on, got {len(series)}")
        self.instruments = [resolved.instrument for resolved in resolve_all(bars, options, fee_bps)]
        """Instruments of the recording."""
        self.kind: type[Data] = Bar
        """Events that are counted."""
        self._bars = [conform(series, instrument) for series, instrument in zip(bars, self.instruments, strict=True)]
        self._warm_up, self._spread_bps = warm_up, spread_bps
        self._types = [
            bar_type(instrument.id, series.interval_ns)
            for instrument, series in zip(self.instruments, bars, strict=True)
        ]
        self.source = ", ".join(series.source for series in bars)
        """Sources of the data."""
        self.sha256 = "+".join(series.sha256 for series in bars)
        """Hash of the values as recorded, the warm-up's too."""
        self.first_ts = min(int(series.ts_event[warm_up]) for series in bars)
        """Time at which the first bar after the warm-up closed, as recorded, Unix ns."""

    def moments(self, shift_ns: int) -> Iterator[Moment]:
        """Yield what is played, in order of time; at one time all bars, then the quotes, as in a backtest."""
        objects: list[list[Data]] = []
        quotes: list[list[Data]] = []
        for series, instrument, of_type in zip(self._bars, self.instruments, self._types, strict=True):
            played = shifted(series.between(self._warm_up, len(series)), shift_ns)
            objects.append(bar_objects(played, of_type))
            quotes.append(bar_quote_ticks(played, instrument, self._spread_bps))
        merged = merge(*objects, *quotes, key=lambda event: event.ts_init)  # stable
        for ts_init, together in groupby(merged, key=lambda event: event.ts_init):
            yield ts_init, list(together)

    def past(self, kind: type[Data], subject: InstrumentId | BarType, shift_ns: int) -> list[Bar]:
        """Return the bars of the warm-up; none of another type, and neither trades nor quotes."""
        for series, of_type in zip(self._bars, self._types, strict=True):
            if str(of_type) == str(subject):
                return bar_objects(shifted(series.between(0, self._warm_up), shift_ns), of_type)
        return []


Recording = RecordedTicks | RecordedBars
"""A recording that a replay can play."""


def load_recording(market: ReplayMarket) -> Recording:
    """Return what the settings name, loaded and checked.

    Raises
    ------
    BadData
        It cannot be used as it is.
    BadSetting
        The interval is none.
    """
    if not market.bars:
        name = market.instruments[0] if market.instruments else None
        quotes = None if market.quotes is None else load_quotes(market.quotes, name, market.read)
        if quotes is not None and market.trades is None:
            return RecordedTicks(quotes, market.warm_up, market, market.fee_bps)
        trades = load(market.trades, market.simulate, market.seed, name, market.read)
        return RecordedTicks(trades, market.warm_up, market, market.fee_bps, quotes)
    interval_ns = None if market.bar is None else parse_interval(market.bar)
    names: Sequence[str | None] = market.instruments or [None] * len(market.bars)
    bars = [
        load_bars(Path(path), 0, market.seed, name, interval_ns, market.read)
        for path, name in zip(market.bars, names, strict=True)
    ]
    return RecordedBars(bars, market.warm_up, market.spread_bps, market, market.fee_bps)


def shifted(data: D, shift_ns: int) -> D:
    """Return the same data at later times (nanoseconds)."""
    times = ("ts_event",) if isinstance(data, Bars) else ("ts_event", "ts_init")
    return replace(data, **{name: getattr(data, name) + shift_ns for name in times})
