"""A small sample of what a fit saw, by which the same prices are recognised under any name.

Whether two data sets hold the same prices is decided at common times, not by the instrument's name. A sketch keeps
those times whose hash is smallest (a bottom-k sample), so that any two data sets choose the same times of the period
that they share, wherever each begins. It holds hashes alone: no price can be read out of an archive.
"""

import base64
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import BadData, Trades

SIZE = 2048
"""Times that a sketch keeps; data with fewer are kept whole."""
MIN_COMMON = 5
"""Minimum number of common times for a decision."""
MIN_AGREEMENT = 0.5
"""Least Cohen's kappa of equal prices: their share at common times, less what chance makes equal."""
MAX_CHANCE = 0.9
"""Prices that chance alone makes equal more often than this hardly move, and decide nothing."""
MIN_MISSED = 32
"""Number of times without a common one from which on data count as different."""
_ENTRY = np.dtype([("time", "<u4"), ("price", "<u2")])
_MS = 1_000_000
_LARGEST = 2**32 - 1


class Comparison(NamedTuple):
    """Result of comparing prices at common times."""

    same: bool | None
    """Whether the data hold the prices that the fit saw; None where it cannot be known."""
    finding: str
    """The counts it follows from: ``1,764 of 1,764 prices at common times are equal``."""


def fit_record(data: Trades | Bars | Quotes, first_ns: int, last_ns: int) -> dict[str, Any]:
    """Return an archive's record of the data of a fit, in plain JSON types.

    Parameters
    ----------
    data : Trades, Bars or Quotes
        All data.
    first_ns, last_ns : int
        ``ts_event`` of the first and the last of them that the fit saw, Unix ns.
    """
    return {
        "source": data.source,
        "sha256": data.sha256,
        "instrument_id": data.instrument.instrument_id,
        "first_ts_event": first_ns,
        "last_ts_event": last_ns,
        "prices": encode(sketch(data, first_ns, last_ns)),
    }


def sketch(data: Trades | Bars | Quotes, first_ns: int, last_ns: int) -> NDArray[np.void]:
    """Return the sketch of a period, both ends included: hashes of times, ascending, with the hash of each price."""
    entries = _hashed(data, first_ns, last_ns)
    return entries[np.argsort(entries["time"], kind="stable")][:SIZE]


def encode(entries: NDArray[np.void]) -> str:
    """Encode a sketch as text: base64 of little-endian pairs of 4 and 2 bytes."""
    return base64.b64encode(entries.tobytes()).decode()


def decode(text: str) -> NDArray[np.void]:
    """Decode a sketch that `encode` wrote.

    Raises
    ------
    BadData
        The text is no sketch.
    """
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype=_ENTRY)
    except ValueError as error:
        raise BadData(f"expected a sketch of the prices that a fit saw, got {text[:20]!r}: {error}") from None


def compare(data: Trades | Bars | Quotes, record: dict[str, Any]) -> Comparison:
    """Return whether data hold the prices that a fit saw, whatever their period and name.

    Parameters
    ----------
    record : dict
        Result of `fit_record`.
    """
    kept, mine = decode(record["prices"]), _hashed(data, record["first_ts_event"], record["last_ts_event"])
    if not len(mine):
        return Comparison(False, "none of them lies in the fit's period")
    mine = mine[mine["time"] <= (kept["time"][-1] if len(kept) >= SIZE else _LARGEST)]
    place = np.minimum(np.searchsorted(kept["time"], mine["time"]), len(kept) - 1)
    common = kept["time"][place] == mine["time"]
    fitted, own = kept["price"][place][common], mine["price"][common]
    if len(own) < MIN_COMMON:
        missed = len(mine) - len(own)
        return Comparison(
            False if missed >= MIN_MISSED else None, f"{len(own):,} of {len(mine):,} sampled times are common"
        )
    equal = int((own == fitted).sum())
    finding = f"{equal:,} of {len(own):,} prices at common times are equal"
    chance = _chance(own, fitted)
    if chance > MAX_CHANCE:
        return Comparison(None, f"{finding}, but they hardly move")
    return Comparison((equal / len(own) - chance) / (1 - chance) >= MIN_AGREEMENT, finding)


def _chance(own: NDArray[np.uint16], fitted: NDArray[np.uint16]) -> float:
    """Return the share of equal prices among all pairs, whatever their times."""
    bins = 2**16
    shares = [np.bincount(prices, minlength=bins) / len(prices) for prices in (own, fitted)]
    return float(shares[0] @ shares[1])


def _hashed(data: Trades | Bars | Quotes, first_ns: int, last_ns: int) -> NDArray[np.void]:
    """Return the hashes of each millisecond of a period that has a price, and of its last price.

    Milliseconds, as some files of the same trades are cut to them.
    """
    start, stop = np.searchsorted(data.ts_event, first_ns), np.searchsorted(data.ts_event, last_ns, side="right")
    time = data.ts_event[start:stop] // _MS
    price = _price(data)[start:stop]
    last = np.append(time[1:] != time[:-1], True)[: len(time)]
    digits, decimals = _normalized(price[last], data.instrument.price_precision)
    entries = np.empty(int(last.sum()), dtype=_ENTRY)
    entries["time"] = _mixed(time[last]) >> np.uint64(32)
    entries["price"] = _mixed(digits ^ _mixed(decimals).view(np.int64)) >> np.uint64(48)
    return entries


def _price(data: Trades | Bars | Quotes) -> NDArray[np.int64]:
    if isinstance(data, Quotes):
        return data.bid_price
    return data.close if isinstance(data, Bars) else data.price


def _normalized(price: NDArray[np.int64], precision: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return digits and decimals without trailing zeros: 1.50 at precision 2 is 1.5 at precision 1."""
    digits, decimals = price.copy(), np.full(len(price), precision)
    while (zero := (digits % 10 == 0) & (digits != 0)).any():
        digits[zero] //= 10
        decimals[zero] -= 1
    return digits, decimals


def _mixed(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return 64 well mixed bits of each value (Steele, Lea and Flood 2014, SplitMix64)."""
    mixed = values.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
