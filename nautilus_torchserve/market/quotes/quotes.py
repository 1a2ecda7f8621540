"""Top-of-book quotes of one instrument as arrays, whatever their source, and their checks."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.data_files import FileRows
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import (
    EXACT_INTEGERS,
    Instrument,
    check_precision,
    decimal_text,
    place,
    refuse_where,
    utc_text,
)

ARRAYS = ("ts_event", "ts_init", "bid_price", "ask_price", "bid_size", "ask_size")


@dataclass(frozen=True, eq=False)
class Quotes:
    """Quotes of one instrument in order of time."""

    instrument: Instrument
    """What was quoted."""
    source: str
    """Where they came from, for reports and error messages."""
    ts_event: NDArray[np.int64]
    """When the venue published it, Unix ns [n], non-decreasing."""
    ts_init: NDArray[np.int64]
    """When it was received, Unix ns [n], non-decreasing; never before ts_event."""
    bid_price: NDArray[np.int64]
    """In steps of 10**-price_precision [n]."""
    ask_price: NDArray[np.int64]
    """In steps of 10**-price_precision [n]; never below the bid."""
    bid_size: NDArray[np.int64]
    """In steps of 10**-size_precision [n]."""
    ask_size: NDArray[np.int64]
    """In steps of 10**-size_precision [n]."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """How they were read."""
    notes: tuple[str, ...] = ()
    """What was assumed, left out or changed in reading them, a sentence each."""
    lines: FileRows | None = None
    """Line numbers in the file; None for quotes that are not from one."""
    catalog: Path | None = None
    """The NautilusTrader catalog they were read from, which may define the instrument; None for a file."""

    simulated = False
    """Quotes are not simulated."""

    def __len__(self) -> int:
        return len(self.bid_price)

    @cached_property
    def sha256(self) -> str:
        """Hash of instrument and values: the same quotes have the same hash, whatever the file."""
        digest = hashlib.sha256(repr(self.instrument).encode())
        for name in ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()

    def between(self, start: int, stop: int) -> "Quotes":
        """Return the quotes at positions ``start`` to ``stop - 1``."""
        return self.take(slice(start, stop))

    def take(self, rows: NDArray[np.int64] | slice) -> "Quotes":
        """Return the quotes at these positions."""
        lines = None if self.lines is None else self.lines.take(rows)
        return replace(self, lines=lines, **{name: getattr(self, name)[rows] for name in ARRAYS})

    def place(self, row: int) -> str:
        """Return the place of a quote for messages: its line in a file, else its row and time."""
        return place(self.lines, row, int(self.ts_event[row]))

    def prices(self) -> NDArray[np.float64]:
        """Return the middle of bid and ask in quote currency, float64 [n]: one rounded division of an exact sum."""
        return (self.bid_price + self.ask_price) / (2 * 10.0**self.instrument.price_precision)


def check(quotes: Quotes) -> Quotes:
    """Refuse quotes that a model must not be trained or tested on.

    Raises
    ------
    BadData
        Naming source, place, what was expected and what it was.
    """
    if not len(quotes):
        raise BadData(f"{quotes.source}: expected at least one quote, got an empty data set")
    instrument = quotes.instrument
    check_precision(quotes.source, "price", instrument.price_precision)
    check_precision(quotes.source, "size", instrument.size_precision)
    for name in ("bid_price", "ask_price", "bid_size", "ask_size"):
        values = getattr(quotes, name)
        is_price = name.endswith("price")
        text = partial(decimal_text, precision=instrument.price_precision if is_price else instrument.size_precision)
        least = 1 if is_price else 0
        refuse_where(quotes, values < least, f"{name} {'above' if is_price else 'of at least'} 0", values, text)
        refuse_where(quotes, values >= EXACT_INTEGERS, f"{name} below 2**53 smallest steps", values, text)
    price_text = partial(decimal_text, precision=instrument.price_precision)
    crossed = quotes.bid_price > quotes.ask_price
    refuse_where(quotes, crossed, "a bid of at most the ask", quotes.bid_price, price_text)
    for name in ("ts_event", "ts_init"):
        values = getattr(quotes, name)
        backwards = np.zeros(len(values), dtype=bool)
        backwards[1:] = values[1:] < values[:-1]
        refuse_where(quotes, backwards, f"{name} sorted in time", values, utc_text)
    early = quotes.ts_init < quotes.ts_event
    refuse_where(
        quotes, early, "a time of receipt (ts_init) not before the venue's (ts_event)", quotes.ts_init, utc_text
    )
    return quotes
