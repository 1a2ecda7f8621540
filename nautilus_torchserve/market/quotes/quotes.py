"""Quotes of one instrument as arrays, of the best level or of several, whatever their source, and their checks."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Self, TypeVar

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
LEVELS = 10
"""Levels of each side, as NautilusTrader's ``OrderBookDepth10`` has them."""


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
    is_implied: bool = False
    """Whether trades imply them, see `market.trades.trades.implied_quotes`: they are not the venue's."""

    simulated = False
    """Quotes are not simulated."""
    arrays: ClassVar[tuple[str, ...]] = ARRAYS
    """Names of the arrays."""

    def __len__(self) -> int:
        return len(self.bid_price)

    @cached_property
    def sha256(self) -> str:
        """Hash of instrument and values: the same quotes have the same hash, whatever the file."""
        digest = hashlib.sha256(repr(self.instrument).encode())
        for name in self.arrays:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()

    def between(self, start: int, stop: int) -> Self:
        """Return the quotes at positions ``start`` to ``stop - 1``."""
        return self.take(slice(start, stop))

    def take(self, rows: NDArray[np.int64] | slice) -> Self:
        """Return the quotes at these positions."""
        lines = None if self.lines is None else self.lines.take(rows)
        return replace(self, lines=lines, **{name: getattr(self, name)[rows] for name in self.arrays})

    def place(self, row: int) -> str:
        """Return the place of a quote for messages: its line in a file, else its row and time."""
        return place(self.lines, row, int(self.ts_event[row]))

    def prices(self) -> NDArray[np.float64]:
        """Return the middle of bid and ask in quote currency, float64 [n]: one rounded division of an exact sum."""
        return (self.bid_price + self.ask_price) / (2 * 10.0**self.instrument.price_precision)


@dataclass(frozen=True, eq=False, kw_only=True)
class Depth(Quotes):
    """The best levels of one instrument's order book in order of time: quotes with what stands behind them."""

    bid_prices: NDArray[np.int64]
    """Of each level, the best first, in steps of 10**-price_precision [n, LEVELS]; 0 where there is none."""
    ask_prices: NDArray[np.int64]
    """The same of the asks [n, LEVELS]."""
    bid_sizes: NDArray[np.int64]
    """In steps of 10**-size_precision [n, LEVELS]; 0 where there is no such level."""
    ask_sizes: NDArray[np.int64]
    """The same of the asks [n, LEVELS]."""

    arrays: ClassVar[tuple[str, ...]] = (*ARRAYS, "bid_prices", "ask_prices", "bid_sizes", "ask_sizes")

    @property
    def levels(self) -> int:
        """Number of levels that any of the quotes has."""
        return int(np.flatnonzero((self.bid_prices.any(axis=0)) | (self.ask_prices.any(axis=0)))[-1]) + 1


Q = TypeVar("Q", bound=Quotes)


def check(quotes: Q) -> Q:
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
    if isinstance(quotes, Depth):
        _check_levels(quotes, price_text)
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


def _check_levels(depth: Depth, price_text: Callable[[int], str]) -> None:
    """Refuse levels that are not in order of price, have a negative size, or stand behind one that is missing."""
    for side, prices, sizes, sign in (
        ("bid", depth.bid_prices, depth.bid_sizes, -1),
        ("ask", depth.ask_prices, depth.ask_sizes, 1),
    ):
        for level in range(1, LEVELS):
            price, size = prices[:, level], sizes[:, level]
            is_there = (price != 0) | (size != 0)
            before = sign * prices[:, level - 1]
            expected = f"{side} level {level + 1} behind level {level}, with a size of at least 0"
            wrong = is_there & ((sign * price <= before) | (size < 0) | (price <= 0) | (prices[:, level - 1] == 0))
            refuse_where(depth, wrong, expected, price, price_text)
