"""Market data as one stream of NautilusTrader's objects, as an engine would deliver it."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Depth, Quotes
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.features.internal_bars import InternalBars
from nautilus_torchserve.trading.instruments.instruments import check_quotes, to_depth10, to_quote_ticks, trade_ticks

CHUNK = 8_192
"""Events made into objects at a time, about: memory grows with them, no result changes."""


class Stream(NamedTuple):
    """Data of one kind and one instrument, made into objects when they are needed."""

    ts_init: NDArray[np.int64]
    """When each is received, Unix ns [n], non-decreasing."""
    objects: Callable[[int, int], Sequence[Data]]
    """Returns those at positions ``start`` to ``stop - 1``."""


def event_streams(data: Trades | Bars | Quotes, instrument: Instrument) -> list[Stream]:
    """Return the streams of market data that conform to their instrument: depth, and then the quotes of its best level.

    A simulated exchange that matches at the best level takes it from the quotes.
    """
    if isinstance(data, Trades):
        return [Stream(data.ts_init, lambda start, stop: trade_ticks(data.between(start, stop)))]
    if isinstance(data, Quotes):
        check_quotes(data)
        quotes = Stream(data.ts_init, lambda start, stop: to_quote_ticks(data.between(start, stop)))
        if not isinstance(data, Depth):
            return [quotes]
        return [Stream(data.ts_init, lambda start, stop: to_depth10(data.between(start, stop))), quotes]
    of_type = bar_type(instrument.id, data.interval_ns)
    return [Stream(data.ts_event, lambda start, stop: bar_objects(data.between(start, stop), of_type))]


def series_streams(series: Sequence[Trades | Bars | Quotes], instruments: Sequence[Instrument]) -> list[Stream]:
    """Return the streams of several series: of one time, quotes, which trades met, come first, in the order given."""
    pairs = sorted(zip(series, instruments, strict=True), key=lambda pair: not isinstance(pair[0], Quotes))
    return [stream for pair in pairs for stream in event_streams(*pair)]


def merge(streams: Sequence[Stream], bars: InternalBars, until_ns: int | None = None) -> Iterator[list[Data]]:
    """Yield the data of all streams by time, some at a time, and before each of them the bars that close by then.

    Of data of one time, those of an earlier stream come first.

    Parameters
    ----------
    until_ns : int, optional
        Time until which bars close after the last datum, Unix ns; None: with it.
    """
    times = np.sort(np.concatenate([stream.ts_init for stream in streams]))
    begins = [0] * len(streams)
    for last_ns in np.unique([*times[CHUNK - 1 :: CHUNK].tolist(), *times[-1:].tolist()]):
        ends = [int(np.searchsorted(stream.ts_init, last_ns, side="right")) for stream in streams]
        parts = [stream.objects(*span) for stream, *span in zip(streams, begins, ends, strict=True)]
        received = [stream.ts_init[slice(*span)] for stream, *span in zip(streams, begins, ends, strict=True)]
        together = np.empty(sum(map(len, parts)), dtype=object)
        together[:] = [datum for part in parts for datum in part]
        ordered = together[np.argsort(np.concatenate(received), kind="stable")]
        yield [each for datum in ordered for each in (*bars.add(datum), datum)]
        begins = ends
    if until_ns is not None:
        yield [*bars.close_until(until_ns)]
