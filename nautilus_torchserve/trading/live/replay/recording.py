"""Recorded market data as a stream of NautilusTrader's objects, all times shifted by one constant."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from heapq import merge
from itertools import groupby
from pathlib import Path

from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects, bar_quote_ticks
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


class RecordedTrades:
    """One instrument's trades, each with the quotes that it implies.

    Parameters
    ----------
    trades : Trades
        All trades, the warm-up's too.
    warm_up : int
        Number of trades at the beginning that are not played.
    options : InstrumentOptions, optional
        Definition of the instrument beyond its data.
    fee_bps : float, optional
        Fee on each fill; None takes the definition's.

    Raises
    ------
    BadData
        Nothing is left to play after the warm-up, or it is not known what was traded.
    """

    def __init__(
        self,
        trades: Trades,
        warm_up: int,
        options: InstrumentOptions = NO_OPTIONS,
        fee_bps: float | None = None,
    ) -> None:
        if len(trades) <= warm_up:
            raise BadData(f"{trades.source}: expected more than {warm_up} trades to warm up on, got {len(trades)}")
        instrument = resolve(trades, options, fee_bps).instrument
        self._trades, self._warm_up = conform(trades, instrument), warm_up
        self.instruments = [instrument]
        """Instruments of the recording."""
        self.source = trades.source
        """Source of the data."""
        self.sha256 = trades.sha256
        """Hash of the values as recorded, the warm-up's too."""
        self.first_ts = int(trades.ts_init[warm_up])
        """Time at which the first trade after the warm-up was received, as recorded, Unix ns."""

    @cached_property
    def _quotes(self) -> Quotes:
        return implied(self._trades, tick_steps(self.instruments[0]))

    def moments(self, shift_ns: int) -> Iterator[Moment]:
        """Yield what is played, in order of time: each trade, then the quote that it implies."""
        for start in range(self._warm_up, len(self._trades), CHUNK):
            part = shifted(self._trades.between(start, start + CHUNK), shift_ns)
            quotes = to_quote_ticks(shifted(self._quotes.between(start, start + CHUNK), shift_ns))
            for trade, quote in zip(trade_ticks(part), quotes, strict=True):
                yield trade.ts_init, [trade, quote]

    def past(self, subject: InstrumentId | BarType, shift_ns: int) -> list[TradeTick]:
        """Return the trades of the warm-up; none of another instrument, and none for a type of bars."""
        if str(subject) != str(self.instruments[0].id):  # NautilusTrader compares a kind of names with its own alone
            return []
        return trade_ticks(shifted(self._trades.between(0, self._warm_up), shift_ns))


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

    def past(self, subject: InstrumentId | BarType, shift_ns: int) -> list[Bar]:
        """Return the bars of the warm-up; none of another type, and none for the trades of an instrument."""
        for series, of_type in zip(self._bars, self._types, strict=True):
            if str(of_type) == str(subject):
                return bar_objects(shifted(series.between(0, self._warm_up), shift_ns), of_type)
        return []


Recording = RecordedTrades | RecordedBars
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
        trades = load(market.trades, market.simulate, market.seed, name, market.read)
        return RecordedTrades(trades, market.warm_up, market, market.fee_bps)
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
