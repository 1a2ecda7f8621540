"""Exact aggregation of bars into longer ones."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS, BadData

WEEK_NS = 7 * 86_400 * 10**9
FIRST_MONDAY_NS = 4 * 86_400 * 10**9
"""1970-01-05: weeks begin on a Monday, as at venues and in NautilusTrader; other intervals count from 1970-01-01."""


def since_grid_ns(ts_event: NDArray[np.int64], interval_ns: int) -> NDArray[np.int64]:
    """Return the time since the last boundary of the UTC grid of ``interval_ns``, int64 [n] in ns; 0 on a boundary."""
    origin = FIRST_MONDAY_NS if interval_ns % WEEK_NS == 0 else 0
    return (ts_event - origin) % interval_ns


def aggregate(bars: Bars, interval_ns: int) -> Bars:
    """Aggregate bars to ``interval_ns`` on the UTC grid: first open, highest, lowest, last close, volume summed.

    Only complete groups are kept: a bar with a missing member would have another volume and
    perhaps another range than the market had. So the first and the last group are often dropped, and
    bars that do not themselves close on the grid give none.

    Parameters
    ----------
    bars : Bars
        Checked bars (`market.bars.checks`).
    interval_ns : int
        A multiple of the bars' interval; the same interval returns them unchanged.

    Raises
    ------
    BadData
        An interval that is no multiple, no complete group, or a volume of 2**53 steps and more.
    """
    if interval_ns <= 0 or interval_ns % bars.interval_ns:
        raise BadData(
            f"{bars.source}: expected an interval that is a multiple of the bars' {bars.interval_ns / 1e9:g} s, "
            f"got {interval_ns / 1e9:g} s"
        )
    members = interval_ns // bars.interval_ns
    if members == 1:
        return bars
    first = _complete_groups(bars, interval_ns, members)
    if not len(first):
        raise BadData(
            f"{bars.source}: expected at least one group of {members} bars of {bars.interval_ns / 1e9:g} s without a "
            f"break, on the UTC grid of {interval_ns / 1e9:g} s, got none in {len(bars)} bars"
        )
    rows = first[:, None] + np.arange(members)
    _refuse_too_large(bars, rows)
    return replace(
        bars,
        lines=None,
        interval_ns=interval_ns,
        ts_event=bars.ts_event[rows[:, -1]],
        open=bars.open[rows[:, 0]],
        high=bars.high[rows].max(axis=1),
        low=bars.low[rows].min(axis=1),
        close=bars.close[rows[:, -1]],
        volume=bars.volume[rows].sum(axis=1),
    )


def _complete_groups(bars: Bars, interval_ns: int, members: int) -> NDArray[np.int64]:
    """Return the row of each complete group's first bar, int64 [groups]: it closes one step after a boundary."""
    since = since_grid_ns(bars.ts_event, interval_ns)
    starts = np.flatnonzero(since == bars.interval_ns)
    starts = starts[starts + members <= len(bars)]
    rows = starts[:, None] + np.arange(members)
    expected = bars.ts_event[starts][:, None] + bars.interval_ns * np.arange(members)
    return starts[(bars.ts_event[rows] == expected).all(axis=1)]


def _refuse_too_large(bars: Bars, rows: NDArray[np.int64]) -> None:
    volume = bars.volume.astype(np.float64)[rows].sum(axis=1)  # an int64 sum might have wrapped round
    if (volume >= EXACT_INTEGERS).any():
        group = int((volume >= EXACT_INTEGERS).argmax())
        raise BadData(
            f"{bars.source}: {bars.place(int(rows[group, 0]))}: expected a volume below 2**53 smallest steps, got "
            f"{volume[group]:.0f} over {rows.shape[1]} bars"
        )
