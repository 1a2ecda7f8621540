"""Bars that NautilusTrader aggregates, made before a run by its own aggregators.

In a backtest of NautilusTrader before 1.223, predictions on bars that the engine closes by a timer would take effect
too late (`trading.backtest.simulated_time`). As data, the same bars arrive when they would, on every version, and they
are the same in training. A live run makes them itself, too: of history, and without a first bar that misses what was
traded before the run.
"""

from collections.abc import Iterable, Sequence

from nautilus_trader.common.component import TestClock
from nautilus_trader.core.data import Data
from nautilus_trader.data.aggregation import (
    BarAggregator,
    TickBarAggregator,
    TimeBarAggregator,
    ValueBarAggregator,
    VolumeBarAggregator,
)
from nautilus_trader.model.data import Bar, BarType, DataType, QuoteTick, TradeTick
from nautilus_trader.model.enums import BarAggregation, PriceType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.trading.checks import BadSetting

_BY_EVENTS: dict[BarAggregation, type[BarAggregator]] = {
    BarAggregation.TICK: TickBarAggregator,
    BarAggregation.VOLUME: VolumeBarAggregator,
    BarAggregation.VALUE: ValueBarAggregator,
}


class ClosedBar(Data):
    """An aggregated bar as a backtest's datum; apart from `Bar`, which strategies may have the engine aggregate too."""

    __slots__ = ("bar", "ts_event", "ts_init")

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.ts_event = bar.ts_event
        self.ts_init = bar.ts_init


CLOSED_BAR = DataType(ClosedBar)
"""Type of a `ClosedBar` in the engine."""


class InternalBars:
    """Closes bars as trades and quotes pass by, when NautilusTrader's engine would.

    Parameters
    ----------
    bar_types : iterable of BarType
        Internally aggregated ones.
    instruments : sequence of Instrument
        Those of the bars among them.

    Raises
    ------
    BadSetting
        Bars of another instrument, or made of other bars.
    """

    def __init__(self, bar_types: Iterable[BarType], instruments: Sequence[Instrument]) -> None:
        self._bar_types = list(dict.fromkeys(bar_types))
        self._instruments = {instrument.id: instrument for instrument in instruments}
        self._clock: TestClock | None = None
        self._closed: list[Bar] = []
        self._aggregators: dict[tuple[type[Data], InstrumentId], list[BarAggregator]] = {}
        for bar_type in self._bar_types:
            if bar_type.instrument_id not in self._instruments:
                raise BadSetting(f"expected data of {bar_type.instrument_id}, which {bar_type} is made of, got none")
            is_by_events = bar_type.spec.aggregation in _BY_EVENTS
            if bar_type.is_composite() or not (is_by_events or bar_type.spec.is_time_aggregated()):
                raise BadSetting(
                    f"expected bars by time, ticks, volume or value, made of trades or quotes, got {bar_type}"
                )

    def add(self, data: Data) -> Sequence[Bar]:
        """Add a datum; return the bars that have closed by then, to be handled before it."""
        if not self._bar_types:
            return ()
        if self._clock is None:
            self._clock = self._start(data.ts_init)
        self._advance(self._clock, data.ts_init)
        if isinstance(data, TradeTick | QuoteTick):
            for aggregator in self._aggregators.get((type(data), data.instrument_id), ()):
                if isinstance(data, TradeTick):
                    aggregator.handle_trade_tick(data)
                else:
                    aggregator.handle_quote_tick(data)
        return self._take_closed()

    def close_until(self, ts_ns: int) -> Sequence[Bar]:
        """Return the bars that have closed by a time (Unix ns), without a datum; before the first datum none has."""
        if self._clock is not None:
            self._advance(self._clock, ts_ns)
        return self._take_closed()

    def _advance(self, clock: TestClock, ts_ns: int) -> None:
        if ts_ns >= clock.timestamp_ns():  # a live stream may bring what is older than the bar that a timer has closed
            for handler in clock.advance_time(ts_ns):
                handler.handle()

    def _take_closed(self) -> Sequence[Bar]:
        if not self._closed:
            return ()
        closed, self._closed = self._closed, []
        return closed

    def _start(self, first_ns: int) -> TestClock:
        clock = TestClock()
        clock.set_time(first_ns)
        for bar_type in self._bar_types:
            instrument, on_bar = self._instruments[bar_type.instrument_id], self._closed_bar
            by_events = _BY_EVENTS.get(bar_type.spec.aggregation)
            try:
                aggregator = (
                    TimeBarAggregator(instrument, bar_type, on_bar, clock)
                    if by_events is None
                    else by_events(instrument, bar_type, on_bar)
                )
            except ValueError as error:  # years, before 1.223
                raise BadSetting(f"expected bars that NautilusTrader aggregates, got {bar_type} ({error})") from None
            if by_events is None and hasattr(aggregator, "start_timer"):
                aggregator.start_timer()  # recent versions of NautilusTrader leave it to the engine
            event_class = TradeTick if bar_type.spec.price_type == PriceType.LAST else QuoteTick
            self._aggregators.setdefault((event_class, bar_type.instrument_id), []).append(aggregator)
        return clock

    def _closed_bar(self, bar: Bar) -> None:
        self._closed.append(bar)
