"""Trades of one instrument as arrays, checked once, whatever they came from."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EXACT_INTEGERS = 2**53
"""Integers below this are exact in float64, which the features rely on."""


class BadData(ValueError):
    """Market data that cannot be used as it is; names the file, the place and what was expected."""


@dataclass(frozen=True)
class Instrument:
    """What is traded, as far as arrays of trades need to know."""

    symbol: str
    """The venue's own name of it: ``BTCUSDT``."""
    venue: str
    """Where it trades: ``BINANCE``; ``SIM`` for the simulated market."""
    price_precision: int
    """Decimals of a price; the smallest step is 10**-price_precision."""
    size_precision: int
    """Decimals of a size."""

    @property
    def instrument_id(self) -> str:
        """NautilusTrader's form: ``BTCUSDT.BINANCE``."""
        return f"{self.symbol}.{self.venue}"


@dataclass(frozen=True, eq=False)
class Trades:
    """Trades of one instrument in the order in which they were received."""

    instrument: Instrument
    """What was traded."""
    source: str
    """Where they came from, for reports and error messages."""
    simulated: bool
    """True for the simulator's: every output must say so."""
    ts_event: NDArray[np.int64]
    """When the venue matched it, Unix ns [n], non-decreasing."""
    ts_init: NDArray[np.int64]
    """When it was received, Unix ns [n], non-decreasing; never before ts_event."""
    price: NDArray[np.int64]
    """In steps of 10**-price_precision [n]."""
    size: NDArray[np.int64]
    """In steps of 10**-size_precision [n]."""
    side: NDArray[np.int8]
    """Aggressor [n]: +1 buyer, -1 seller, 0 unknown."""
    trade_id: NDArray[np.str_]
    """The venue's identifiers [n]."""
    catalog: Path | None = None
    """The NautilusTrader catalog they were read from, which may define the instrument; None for a file."""

    def __len__(self) -> int:
        return len(self.price)

    @cached_property
    def sha256(self) -> str:
        """Hash over instrument and values: the same trades, the same hash, from whatever file."""
        digest = hashlib.sha256(repr(self.instrument).encode())
        for values in (self.ts_event, self.ts_init, self.price, self.size, self.side):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def between(self, start: int, stop: int) -> "Trades":
        """The trades at positions ``start`` to ``stop - 1``."""
        arrays = ("ts_event", "ts_init", "price", "size", "side", "trade_id")
        return replace(self, **{name: getattr(self, name)[start:stop] for name in arrays})

    def prices(self) -> NDArray[np.float64]:
        """Prices in quote currency, float64 [n]."""
        return self.price / 10.0**self.instrument.price_precision


def check(trades: Trades) -> Trades:
    """Refuse trades that a model must not be trained or tested on.

    Several trades may share a timestamp (one aggressor against several resting orders);
    a repeated trade id is a duplicate.

    Raises
    ------
    BadData
        Naming source, row (0-based, header not counted), what it was and what was expected.
    """
    if not len(trades):
        raise BadData(f"{trades.source}: at least one trade expected, was an empty data set")
    for name in ("price", "size"):
        values = getattr(trades, name)
        _refuse(trades, values <= 0, f"positive {name} expected", values)
        _refuse(trades, values >= EXACT_INTEGERS, f"{name} below 2**53 smallest steps expected", values)
    for name in ("ts_event", "ts_init"):
        values = getattr(trades, name)
        backwards = np.zeros(len(values), dtype=bool)
        backwards[1:] = values[1:] < values[:-1]
        _refuse(trades, backwards, f"{name} sorted in time expected, was before its predecessor", values)
    _refuse(trades, trades.ts_init < trades.ts_event, "ts_init not before ts_event expected", trades.ts_init)
    _refuse(trades, np.abs(trades.side) > 1, "side +1, -1 or 0 expected", trades.side)
    _, first = np.unique(trades.trade_id, return_index=True)
    if len(first) < len(trades):
        repeated = np.ones(len(trades), dtype=bool)
        repeated[first] = False
        _refuse(trades, repeated, "every trade id once expected, was a duplicate", trades.trade_id)
    return trades


def _refuse(trades: Trades, bad: NDArray[np.bool_], expected: str, values: NDArray) -> None:
    if bad.any():
        row = int(bad.argmax())
        others = f" (and {bad.sum() - 1} more rows)" if bad.sum() > 1 else ""
        raise BadData(f"{trades.source}: row {row}: {expected}, was {values[row]}{others}")
