"""Data quality checks of bars: problems are reported, never repaired."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.aggregate import since_grid_ns
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.jumps import JUMP_REMEDY, MOST_NAMED, and_more, find_jumps, split_note
from nautilus_torchserve.market.trades.trades import (
    EXACT_INTEGERS,
    BadData,
    Trades,
    check_precision,
    decimal_text,
    utc_text,
)

HOUR_NS, DAY_NS = 3_600 * 10**9, 86_400 * 10**9


@dataclass(frozen=True)
class Finding:
    """One kind of problem found in bars."""

    kind: str
    """Machine-readable name: ``breaks``, ``duplicates``."""
    fatal: bool
    """Whether `check_bars` refuses bars that have it."""
    count: int
    """Number of bars affected."""
    row: int
    """The first affected bar, 0-based; the sentence names its line if it comes from a file."""
    closed: str
    """When that bar closed, ISO 8601 in UTC."""
    was: str
    """The value found, in decimals."""
    sentence: str
    """The finding as a sentence."""


@dataclass(frozen=True)
class Breaks:
    """Periods without bars."""

    count: int
    """Number of breaks."""
    missing_intervals: int
    """Number of missing bars over all breaks."""
    largest_intervals: int
    """Number of bars missing in the largest break; 0 without a break, and the times below are empty then."""
    largest_from: str
    """Close of the last bar before it, ISO 8601 in UTC."""
    largest_to: str
    """Open of the first bar after it."""


@dataclass(frozen=True)
class Findings:
    """Result of `examine`."""

    source: str
    """Where they came from."""
    bars: int
    """Number of bars."""
    interval_ns: int
    """Interval of the bars."""
    first_open: str
    """When the first one opened, ISO 8601 in UTC."""
    last_close: str
    """When the last one closed."""
    breaks: Breaks
    """Breaks in time; a count of 0 is no finding."""
    found: tuple[Finding, ...]
    """One finding for each kind, the fatal ones first; empty for clean bars."""
    notes: tuple[str, ...] = ()
    """What was assumed or altered in reading the bars."""

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """Findings for which `check_bars` refuses the bars."""
        return tuple(finding for finding in self.found if finding.fatal)

    def lines(self) -> list[str]:
        """Return a sentence for each finding, or one for clean bars; then the notes."""
        if self.found:
            return [*(finding.sentence for finding in self.found), *self.notes]
        return [
            f"{self.bars:,} bars of {self.interval_ns / 1e9:g} s from {self.first_open} to {self.last_close}: "
            "no breaks, no duplicates, nothing odd.",
            *self.notes,
        ]


def check_bars(bars: Bars) -> Bars:
    """Refuse bars that a model must not be trained or tested on.

    Breaks, bars without volume and stamps off the grid are let through, and with ``bars.read.allow_jumps`` jumps, too:
    `examine` reports them.

    Raises
    ------
    BadData
        Naming the source and every kind of fault, with its count, first place and value.
    """
    check_precision(bars.source, "price", bars.instrument.price_precision)
    check_precision(bars.source, "volume", bars.instrument.size_precision)
    fatal = examine(bars).fatal
    if fatal:
        raise BadData(f"{bars.source}: {' '.join(finding.sentence for finding in fatal)}")
    return bars


def reading_notes(data: Trades | Bars) -> list[str]:
    """Return what was assumed, altered or let through in reading data, and the findings of bars; a sentence each."""
    findings = [finding.sentence for finding in examine(data).found] if isinstance(data, Bars) else []
    return [*findings, *data.notes]


def examine(bars: Bars) -> Findings:
    """Return all findings about bars, without changing them.

    Raises
    ------
    BadData
        There are no bars.
    """
    if not len(bars):
        raise BadData(f"{bars.source}: expected at least one bar, got an empty data set")
    breaks, after_break = _breaks(bars)
    findings = [
        _finding(bars, kind, fatal, bad, expected, value)
        for kind, fatal, bad, expected, value in _checks(bars, after_break, breaks)
        if bad.any()
    ]
    return Findings(
        source=bars.source,
        bars=len(bars),
        interval_ns=bars.interval_ns,
        first_open=utc_text(bars.ts_event[0] - bars.interval_ns),
        last_close=utc_text(bars.ts_event[-1]),
        breaks=breaks,
        found=tuple(sorted(findings, key=lambda finding: not finding.fatal)),
        notes=bars.notes,
    )


_Check = tuple[str, bool, NDArray[np.bool_], str, Callable[[int], str]]
"""Kind, fatal, affected bars [n], what was expected, and the value found, given a row."""


def _checks(bars: Bars, after_break: NDArray[np.bool_], breaks: Breaks) -> Iterator[_Check]:
    yield from _time_checks(bars, after_break, breaks)
    yield from _price_checks(bars)
    yield from _jumps(bars)
    volume, size_precision = bars.volume, bars.instrument.size_precision
    empty = volume == 0

    def volume_at(row: int) -> str:
        return decimal_text(volume[row], size_precision)

    yield "negative volume", True, volume < 0, "a volume of at least 0", volume_at
    if empty.all():
        yield "zero volume throughout", True, empty, "a volume above 0 in some bar", volume_at
    else:
        yield "zero volume", False, empty, "a volume above 0", volume_at
    yield "too large volume", True, volume >= EXACT_INTEGERS, "a volume below 2**53 smallest steps", volume_at


def _time_checks(bars: Bars, after_break: NDArray[np.bool_], breaks: Breaks) -> Iterator[_Check]:
    ts = bars.ts_event
    _, first = np.unique(ts, return_index=True)
    duplicate = np.ones(len(ts), dtype=bool)
    duplicate[first] = False
    backwards = np.zeros(len(ts), dtype=bool)
    backwards[1:] = ts[1:] < ts[:-1]
    since = since_grid_ns(ts, bars.interval_ns)
    hole = (
        f"{breaks.missing_intervals:,} missing in all; the largest break lacks {breaks.largest_intervals:,}, "
        f"from {breaks.largest_from} to {breaks.largest_to}"
    )
    yield "duplicates", True, duplicate, "every stamp once (remove the repeated rows)", lambda row: utc_text(ts[row])
    yield (
        "non-monotonic",
        True,
        backwards,
        "stamps in order of time (sort the file, oldest first)",
        (lambda row: f"{utc_text(ts[row])} after {utc_text(ts[row - 1])}"),
    )
    yield "breaks", False, after_break, f"a bar every {bars.interval_ns / 1e9:g} s", lambda _: hole
    yield (
        "off the grid",
        False,
        since != 0,
        "a close on the UTC grid of the interval",
        (lambda row: f"{since[row] / 1e9:g} s after it"),
    )


def _price_checks(bars: Bars) -> Iterator[_Check]:
    prices = np.stack([getattr(bars, name) for name in PRICES])  # int64 [4, n]
    open_, high, low, close = prices
    outside = (np.minimum(open_, close) < low) | (np.maximum(open_, close) > high)
    outside &= high >= low  # else nothing could be within
    precision = bars.instrument.price_precision

    def all_at(row: int) -> str:
        return ", ".join(
            f"{name} {decimal_text(value, precision)}" for name, value in zip(PRICES, prices[:, row], strict=True)
        )

    yield "high below low", True, high < low, "high of at least low", all_at
    yield "outside low and high", True, outside, "open and close within low and high", all_at
    yield (
        "non-positive price",
        True,
        prices.min(axis=0) <= 0,
        ("prices above 0 (returns are logarithms; shift or leave out what trades below 0)"),
        all_at,
    )
    yield (
        "too large price",
        True,
        prices.max(axis=0) >= EXACT_INTEGERS,
        ("prices below 2**53 smallest steps (round to the tick what was exported as binary floats)"),
        all_at,
    )


def _jumps(bars: Bars) -> Iterator[_Check]:
    """Yield the check for jumps from a close to the next open or close."""
    close, open_, precision = bars.close, bars.open, bars.instrument.price_precision
    elapsed_ns = np.diff(bars.ts_event)
    opened = find_jumps(close[:-1], open_[1:], elapsed_ns - bars.interval_ns) + 1
    closed = find_jumps(close[:-1], close[1:], elapsed_ns, bars.interval_ns) + 1
    jump = np.zeros(len(close), dtype=bool)
    jump[opened] = jump[closed] = True
    at_open = set(opened.tolist())

    def named(row: int) -> str:
        name, value = ("open", open_[row]) if row in at_open else ("close", close[row])
        prices = f"{name} {decimal_text(value, precision)} after a close of {decimal_text(close[row - 1], precision)}"
        return f"{prices} in {bars.place(row)}{split_note(value / close[row - 1])}"

    def all_named(_: int) -> str:
        rows = np.flatnonzero(jump)
        remedy = ", let through by --allow-jumps" if bars.read.allow_jumps else f". {JUMP_REMEDY.rstrip('.')}"
        return "; ".join(named(row) for row in rows[:MOST_NAMED].tolist()) + and_more(len(rows)) + remedy

    yield "jumps", not bars.read.allow_jumps, jump, "prices without a jump (a split, mixed instruments?)", all_named


def _finding(
    bars: Bars, kind: str, fatal: bool, bad: NDArray[np.bool_], expected: str, value: Callable[[int], str]
) -> Finding:
    count, row = int(bad.sum()), int(bad.argmax())
    closed, was = utc_text(bars.ts_event[row]), value(row)
    place = (bars.lines and bars.lines.place(row)) or f"row {row + 1}"
    sentence = (
        f"{kind.capitalize()} in {count:,} of {len(bars):,} bars, first in {place} (closed {closed}): "
        f"expected {expected}, got {was}."
    )
    return Finding(kind, fatal, count, row, closed, was, sentence)


def _breaks(bars: Bars) -> tuple[Breaks, NDArray[np.bool_]]:
    """Return the breaks, and which bars [n] come right after one."""
    ts, interval_ns = bars.ts_event, bars.interval_ns
    missing = np.zeros(len(ts), dtype=np.int64)
    longer_ns = HOUR_NS if interval_ns % DAY_NS == 0 else 0  # a day on which clocks go back
    # a break of less than an interval lacks a bar, too
    missing[1:] = np.maximum(np.diff(ts) - longer_ns - 1, 0) // interval_ns
    after_break = missing > 0
    if not after_break.any():
        return Breaks(0, 0, 0, "", ""), after_break
    row = int(missing.argmax())
    return Breaks(
        count=int(after_break.sum()),
        missing_intervals=int(missing.sum()),
        largest_intervals=int(missing[row]),
        largest_from=utc_text(ts[row - 1]),
        largest_to=utc_text(ts[row] - interval_ns),
    ), after_break
