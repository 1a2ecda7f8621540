"""An account's equity at every event, computed in pieces, and what is kept of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd
from nautilus_trader.model.enums import AssetClass
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.reporting.backtest.thinning import BINS, line_points
from nautilus_torchserve.scores.account import AccountHistory, drawdown
from nautilus_torchserve.scores.calendar import EQUITY_SESSIONS, EVERY_DAY, FUTURES_SESSIONS, FX_DAYS, TradingCalendar
from nautilus_torchserve.scores.sharpe import PERIODS
from nautilus_torchserve.trading.backtest.ledger import Contract, Fill

PIECE = 1_000_000
"""Events whose equity is in memory at one time."""
_CALENDARS = {
    AssetClass.CRYPTOCURRENCY: EVERY_DAY,
    AssetClass.FX: FX_DAYS,
    AssetClass.EQUITY: EQUITY_SESSIONS,
}


class MarkedMarket(NamedTuple):
    """An instrument's prices, and what was traded at them."""

    ts_ns: NDArray[np.int64]
    """When each price was known, Unix ns [n], non-decreasing."""
    prices: Callable[[int, int], NDArray[np.float64]]
    """Prices at positions ``start`` to ``stop - 1``."""
    contract: Contract
    fills: Sequence[Fill]
    """In order of time; none before the first price."""
    last_price: Decimal
    """The last of the prices, exactly."""


class EquityPoints(NamedTuple):
    """Equity at some moments, in order of time."""

    ts_ns: NDArray[np.int64]
    equity: NDArray[np.float64]


def calendar_of(instrument: Instrument) -> TradingCalendar:
    """The trading days of an instrument's class: crypto's, FX's, equities', else those of futures."""
    return _CALENDARS.get(instrument.asset_class, FUTURES_SESSIONS)


def equity_pieces(markets: Sequence[MarkedMarket], start: Decimal, piece: int = PIECE) -> Iterator[EquityPoints]:
    """Equity at each event and after each fill, in order of time.

    At an event, what was held before it is valued at its price; after all events of a fill's time, what is held
    then is valued at the last price.

    Parameters
    ----------
    start : Decimal
        The account before the first event.
    piece : int
        Events of one piece.
    """
    ts_ns = markets[0].ts_ns if len(markets) == 1 else np.concatenate([each.ts_ns for each in markets])
    order = None if len(markets) == 1 else np.argsort(ts_ns, kind="stable")
    ts_ns = ts_ns if order is None else ts_ns[order]
    owner = None if order is None else np.repeat(np.arange(len(markets)), [len(each.ts_ns) for each in markets])[order]
    ledgers = [_Holdings(each) for each in markets]
    filled_ns = np.unique(np.concatenate([each.ts_ns for each in ledgers]))
    after = np.searchsorted(ts_ns, filled_ns, side="right")  # events before which number of points
    seen = np.full(len(markets), -1)  # position of each market's last event so far
    for begin in range(0, len(ts_ns), piece):
        end = min(begin + piece, len(ts_ns))
        here = filled_ns[(after > begin) & (after <= end)]
        places = np.searchsorted(ts_ns[begin:end], here, side="right")
        times = np.insert(ts_ns[begin:end], places, here)
        is_fill = np.zeros(len(times), dtype=bool)
        is_fill[places + np.arange(len(here))] = True
        equity = np.full(len(times), float(start))
        for number, held in enumerate(ledgers):
            is_event = ~is_fill if owner is None else np.insert(owner[begin:end] == number, places, False)
            last = seen[number] + np.cumsum(is_event)
            equity += held.gains(times, is_fill, last)
            seen[number] = last[-1]
        yield EquityPoints(times, equity)


class _Holdings:
    """What one market's fills come to at any time, in floats that do not grow with the number of fills."""

    def __init__(self, market: MarkedMarket) -> None:
        fills = market.fills
        self.ts_ns = np.array([fill.ts_ns for fill in fills], dtype=np.int64)
        self._market = market
        self._gain = np.array([0.0, *(float(fill.gain) for fill in fills)])
        self._price = np.array([1.0, *(float(fill.price) for fill in fills)])
        self._held = np.array([0.0, *(float(fill.position * market.contract.multiplier) for fill in fills)])

    def gains(
        self, ts_ns: NDArray[np.int64], is_fill: NDArray[np.bool_], last: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Profit at some times: fills of the same time count where ``is_fill``; ``last`` are positions of prices."""
        booked = np.searchsorted(self.ts_ns, ts_ns, side="left")
        booked[is_fill] = np.searchsorted(self.ts_ns, ts_ns[is_fill], side="right")
        if not booked[-1]:
            return np.zeros(len(ts_ns))
        first = max(int(last[0]), 0)
        price = self._market.prices(first, int(last[-1]) + 1)[np.maximum(last - first, 0)]
        entry = self._price[booked]
        moved = price - entry
        if self._market.contract.is_inverse:
            moved /= entry * price
        return self._gain[booked] + self._held[booked] * moved


def sum_up(
    pieces: Iterator[EquityPoints],
    start: Decimal,
    end: Decimal,
    fees: Decimal,
    span_ns: tuple[int, int],
    calendar: TradingCalendar,
) -> tuple[AccountHistory, pd.DataFrame]:
    """An account's history over all points, and fewer points for a picture of it.

    Parameters
    ----------
    end : Decimal
        The account after the last event, exactly.
    fees : Decimal
        Paid in all.
    span_ns : tuple of int
        When the first and the last event were, Unix ns.

    Returns
    -------
    AccountHistory
        From every point.
    DataFrame
        ``ts_ns``, ``equity`` and ``drawdown`` (less the highest so far of all points): each moment's extremes.
    """
    first_ns, last_ns = span_ns
    days = _Samples(calendar.closes(first_ns, last_ns), float(start))
    stretches = _Samples(np.linspace(first_ns, last_ns, PERIODS + 1).astype(np.int64), float(start))
    peak, deepest, deepest_share = float(start), 0.0, math.nan if start <= 0 else 0.0
    pictures: list[pd.DataFrame] = []
    for points in pieces:
        below = drawdown(points.equity, peak)
        highest = points.equity - below
        deepest = min(deepest, float(below.min()))
        if (positive := highest > 0).any():
            deepest_share = min(deepest_share, float((below[positive] / highest[positive]).min()))
        peak = float(highest[-1])
        days.add(points)
        stretches.add(points)
        kept = np.union1d(line_points(points.ts_ns, points.equity), line_points(points.ts_ns, below))
        pictures.append(
            pd.DataFrame({"ts_ns": points.ts_ns[kept], "equity": points.equity[kept], "drawdown": below[kept]})
        )
    picture = pd.concat(pictures, ignore_index=True)
    if len(picture) > 8 * BINS:
        ts_ns = picture["ts_ns"].to_numpy()
        kept = np.union1d(*(line_points(ts_ns, picture[name].to_numpy()) for name in ("equity", "drawdown")))
        picture = picture.iloc[kept].reset_index(drop=True)
    traded = np.ones(len(days.ends), dtype=bool) if calendar.every_day else days.points > 0
    history = AccountHistory(
        start=float(start),
        end=float(end),
        pnl=float(end - start),
        fees=float(fees),
        max_drawdown=deepest,
        max_drawdown_share=deepest_share,
        calendar=calendar,
        day_ends=days.ends[traded],
        day_equity=days.equity[traded],
        stretch_equity=stretches.equity,
    )
    return history, picture


class _Samples:
    """Equity at given times: after the last point up to each."""

    def __init__(self, ends: NDArray[np.int64], start: float) -> None:
        self.ends = ends
        self.equity = np.full(len(ends), start)
        self.points = np.zeros(len(ends), dtype=np.int64)
        """How many points came after the time before each."""

    def add(self, points: EquityPoints) -> None:
        """Take in a piece, in order of time."""
        upto = np.searchsorted(points.ts_ns, self.ends, side="right")
        known = upto > 0
        self.equity[known] = points.equity[upto[known] - 1]
        self.points += np.diff(upto, prepend=0)
