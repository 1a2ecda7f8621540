"""Trades of one instrument as arrays, whatever their source, and their checks.

An aggressive buyer paid the ask, an aggressive seller got the bid. Filling orders at the last
trade's price instead would let a strategy sell at the ask whenever the last aggressor was
a buyer: a profit of half a spread that was not attainable.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.data_files import FileRows
from nautilus_torchserve.market.decimals import EXACT_INTEGERS
from nautilus_torchserve.market.jumps import JUMP_REMEDY, MOST_NAMED, and_more, find_jumps, split_note
from nautilus_torchserve.market.read_options import ReadOptions

ARRAYS = ("ts_event", "ts_init", "price", "size", "side", "trade_id")
MOST_DECIMALS = 16
"""NautilusTrader's fixed-point numbers have no more."""


@dataclass(frozen=True)
class Instrument:
    """The properties of an instrument that arrays of market data need."""

    symbol: str
    """The venue's symbol: ``BTCUSDT``."""
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
    """True for the simulator's trades; every output must be marked as simulated."""
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
    read: ReadOptions = field(default_factory=ReadOptions)
    """How they were read."""
    notes: tuple[str, ...] = ()
    """What was assumed or let through in reading them, a sentence each."""
    lines: FileRows | None = None
    """Line numbers in the file; None for trades that are not from one."""
    catalog: Path | None = None
    """The NautilusTrader catalog they were read from, which may define the instrument; None for a file."""

    def __len__(self) -> int:
        return len(self.price)

    @cached_property
    def sha256(self) -> str:
        """Hash of instrument and values: the same trades have the same hash, whatever the file."""
        digest = hashlib.sha256(repr(self.instrument).encode())
        for values in (self.ts_event, self.ts_init, self.price, self.size, self.side):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def between(self, start: int, stop: int) -> "Trades":
        """Return the trades at positions ``start`` to ``stop - 1``."""
        return self.take(slice(start, stop))

    def take(self, rows: NDArray[np.int64] | slice) -> "Trades":
        """Return the trades at these positions."""
        lines = None if self.lines is None else self.lines.take(rows)
        return replace(self, lines=lines, **{name: getattr(self, name)[rows] for name in ARRAYS})

    def place(self, row: int) -> str:
        """Return the place of a trade for messages: its line in a file, else its row and time."""
        return place(self.lines, row, int(self.ts_event[row]))

    def prices(self) -> NDArray[np.float64]:
        """Return prices in quote currency, float64 [n]."""
        return self.price / 10.0**self.instrument.price_precision


def place(lines: FileRows | None, row: int, ts_event: int) -> str:
    """Return the place of a row: its line in a file, else its number from 1, and its time."""
    in_file = None if lines is None else lines.place(row)
    return in_file or f"row {row + 1} ({utc_text(ts_event)})"


def utc_text(ts_ns: int | np.int64) -> str:
    """Format Unix ns in ISO 8601, with as many decimals of a second as it has, in threes."""
    ts = int(ts_ns)
    unit = next(unit for unit, length in (("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)) if ts % length == 0)
    return f"{np.datetime64(ts, 'ns').astype(f'datetime64[{unit}]')}Z"


def decimal_text(steps: int | np.int64, precision: int) -> str:
    """Format whole steps of 10**-precision as a decimal."""
    return f"{Decimal(int(steps)).scaleb(-precision):f}"


def check(trades: Trades) -> Trades:
    """Refuse trades that a model must not be trained or tested on.

    Several trades may share a timestamp (one aggressor against several resting orders);
    a repeated trade id is a duplicate. Prices that jump are refused unless ``trades.read.allow_jumps``, which adds a
    sentence to their notes.

    Raises
    ------
    BadData
        Naming source, place, what was expected and what it was.
    """
    if not len(trades):
        raise BadData(f"{trades.source}: expected at least one trade, got an empty data set")
    instrument = trades.instrument
    for name, precision in (("price", instrument.price_precision), ("size", instrument.size_precision)):
        values = getattr(trades, name)
        check_precision(trades.source, name, precision)
        remedy = " (NautilusTrader and log returns need positive prices)" if name == "price" else ""
        as_decimal = partial(decimal_text, precision=precision)
        refuse_where(trades, values <= 0, f"a positive {name}{remedy}", values, as_decimal)
        too_large = f"a {name} below 2**53 steps of 1e-{precision}"
        refuse_where(trades, values >= EXACT_INTEGERS, too_large, values, as_decimal)
    for name in ("ts_event", "ts_init"):
        values = getattr(trades, name)
        backwards = np.zeros(len(values), dtype=bool)
        backwards[1:] = values[1:] < values[:-1]
        sort = f"{name} sorted in time (sort the file by time)"
        refuse_where(trades, backwards, sort, values, lambda value: f"{utc_text(value)}, before its predecessor")
    early = trades.ts_init < trades.ts_event
    refuse_where(
        trades, early, "a time of receipt (ts_init) not before the venue's (ts_event)", trades.ts_init, utc_text
    )
    refuse_where(trades, np.abs(trades.side) > 1, "side +1, -1 or 0", trades.side)
    _, first = np.unique(trades.trade_id, return_index=True)
    if len(first) < len(trades):
        repeated = np.ones(len(trades), dtype=bool)
        repeated[first] = False
        once = "every trade id once (remove duplicates)"
        refuse_where(trades, repeated, once, trades.trade_id, lambda value: repr(str(value)))
    return _check_jumps(trades)


def check_precision(source: str, name: str, precision: int) -> None:
    """Refuse decimals that NautilusTrader cannot hold.

    Raises
    ------
    BadData
    """
    if precision > MOST_DECIMALS:
        raise BadData(f"{source}: expected a {name} of at most {MOST_DECIMALS} decimals, got {precision}")


def _check_jumps(trades: Trades) -> Trades:
    price = trades.price
    jumps = find_jumps(price[:-1], price[1:], np.diff(trades.ts_event))
    if not len(jumps):
        return trades
    precision = trades.instrument.price_precision
    named = [
        f"{trades.place(row + 1)}: price {decimal_text(price[row + 1], precision)} after "
        f"{decimal_text(price[row], precision)}{split_note(price[row + 1] / price[row])}"
        for row in jumps[:MOST_NAMED].tolist()
    ]
    sentence = f"{len(jumps):,} of {len(trades):,} prices jump: {'; '.join(named)}{and_more(len(jumps))}."
    if not trades.read.allow_jumps:
        raise BadData(f"{trades.source}: {sentence} {JUMP_REMEDY}")
    return replace(trades, notes=(*trades.notes, f"{sentence} They were let through (--allow-jumps)."))


class PlacedRows(Protocol):
    """Rows of market data that know where they come from."""

    @property
    def source(self) -> str:
        """Name of the data."""

    def place(self, row: int) -> str:
        """Return the place of a row."""


def refuse_where(
    data: PlacedRows,
    bad: NDArray[np.bool_],
    expected: str,
    values: NDArray,
    text: Callable[[Any], str] = str,
) -> None:
    """Refuse data with bad rows [n], naming the first one and its value.

    Raises
    ------
    BadData
    """
    if bad.any():
        row = int(bad.argmax())
        others = f" (and {bad.sum() - 1:,} more rows)" if bad.sum() > 1 else ""
        raise BadData(f"{data.source}: {data.place(row)}: expected {expected}, got {text(values[row])}{others}")


def implied_quotes(trades: Trades, tick: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return bid and ask after each trade: the prices of the last seller and the last buyer.

    Whichever side traded longer ago is moved out of the way when the price has passed it. Between
    trades a real book closes up again, which this does not see: on the first four minutes of the
    BTCUSDT perpetual's trades of 2020-02-22 it made crossing the spread 0.3 to 0.5 bps dearer than the real
    quotes, where the last trade's price made it 0.15 bps too cheap.

    Parameters
    ----------
    tick : int
        The instrument's smallest price change, in steps of 10**-price_precision.

    Returns
    -------
    bid, ask : int64 [n]
        In steps of 10**-price_precision, at least a tick apart; uses trades up to each one only.
    """
    price, side = trades.price, trades.side
    here = np.arange(len(price))
    last_buy = np.maximum.accumulate(np.where(side > 0, here, -1))
    last_sell = np.maximum.accumulate(np.where(side < 0, here, -1))
    ask = np.where(last_buy >= 0, price[last_buy], price)
    bid = np.where(last_sell >= 0, price[last_sell], price)
    bid, ask = np.minimum(bid, price), np.maximum(ask, price)
    # At least one tick apart; the side that has just traded stays where it is.
    touching = bid == ask
    bid = np.where(touching & (side >= 0), bid - tick, bid)
    ask = np.where(touching & (side <= 0), ask + tick, ask)
    return bid, ask
