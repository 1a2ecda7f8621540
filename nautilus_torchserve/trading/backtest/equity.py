"""An account's equity at every event, computed piecewise, and its summary."""

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pandas as pd
from nautilus_trader.model.enums import AssetClass
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.reporting.backtest.thinning import BINS, line_points
from nautilus_torchserve.scores.account import (
    EQUITY_SESSIONS,
    EVERY_DAY,
    FUTURES_SESSIONS,
    FX_DAYS,
    AccountHistory,
    TradingCalendar,
    drawdown,
)
from nautilus_torchserve.scores.sharpe import PERIODS
from nautilus_torchserve.trading.backtest.carry import Charge
from nautilus_torchserve.trading.backtest.ledger import Contract, Fill

PIECE = 1_000_000
"""Events whose equity is in memory at one time."""
_CALENDARS = {
    AssetClass.CRYPTOCURRENCY: EVERY_DAY,
    AssetClass.FX: FX_DAYS,
    AssetClass.EQUITY: EQUITY_SESSIONS,
}


class MarkedMarket(NamedTuple):
    """An instrument's prices, and the fills at them."""

    ts_ns: NDArray[np.int64]
    """When each price was known, Unix ns [n], non-decreasing."""
    prices: Callable[[int, int], NDArray[np.float64]]
    """Prices at positions ``start`` to ``stop - 1``."""
    contract: Contract
    fills: Sequence[Fill]
    """In order of time; none before the first price."""
    last_price: Decimal
    """The exact last price."""
    charges: Sequence[Charge] = ()
    """Funding and interest, in order of time."""


class EquityPoints(NamedTuple):
    """Equity at some moments, in order of time."""

    ts_ns: NDArray[np.int64]
    equity: NDArray[np.float64]


def calendar_of(instrument: Instrument) -> TradingCalendar:
    """Return the trading days of an instrument's class: crypto's, FX's, equities', else those of futures."""
    return _CALENDARS.get(instrument.asset_class, FUTURES_SESSIONS)


def equity_pieces(markets: Sequence[MarkedMarket], start: Decimal, piece: int = PIECE) -> Iterator[EquityPoints]:
    """Yield the equity at each event and after each fill, in order of time.

    At an event, what was held before it is valued at its price; after all events of a fill's time, what is held
    then is valued at the last price. What is charged at a time counts from the first event of that time on.

    Parameters
    ----------
    start : Decimal
        The account before the first event.
    piece : int
        Number of events in one piece.
    """
    ts_ns = markets[0].ts_ns if len(markets) == 1 else np.concatenate([market.ts_ns for market in markets])
    order = None if len(markets) == 1 else np.argsort(ts_ns, kind="stable")
    ts_ns = ts_ns if order is None else ts_ns[order]
    owner = (
        None if order is None else np.repeat(np.arange(len(markets)), [len(market.ts_ns) for market in markets])[order]
    )
    ledgers = [_Holdings(market) for market in markets]
    filled_ns = np.unique(np.concatenate([holdings.ts_ns for holdings in ledgers]))
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
        for number, holdings in enumerate(ledgers):
            is_event = ~is_fill if owner is None else np.insert(owner[begin:end] == number, places, False)
            last = seen[number] + np.cumsum(is_event)
            equity += holdings.gains(times, is_fill, last)
            seen[number] = last[-1]
        yield EquityPoints(times, equity)


class _Holdings:
    """Gain of one market's fills at any time, in floats whose error does not grow with the number of fills."""

    def __init__(self, market: MarkedMarket) -> None:
        fills = market.fills
        self.ts_ns = np.array([fill.ts_ns for fill in fills], dtype=np.int64)
        self._market = market
        self._gain = np.array([0.0, *(float(fill.gain) for fill in fills)])
        self._price = np.array([1.0, *(float(fill.price) for fill in fills)])
        self._held = np.array([0.0, *(float(fill.position * market.contract.multiplier) for fill in fills)])
        self._charged_ns = np.array([charge.ts_ns for charge in market.charges], dtype=np.int64)
        costs = accumulate((charge.cost for charge in market.charges), initial=Decimal(0))
        self._charged = np.array([float(cost) for cost in costs])

    def gains(
        self, ts_ns: NDArray[np.int64], is_fill: NDArray[np.bool_], last: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the profit at times: fills of that time count where ``is_fill``; ``last`` are positions of prices."""
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
        charged = self._charged[np.searchsorted(self._charged_ns, ts_ns, side="right")]
        return self._gain[booked] + self._held[booked] * moved - charged


def sum_up(
    pieces: Iterator[EquityPoints],
    start: Decimal,
    end: Decimal,
    fees: Decimal,
    span_ns: tuple[int, int],
    calendar: TradingCalendar,
) -> tuple[AccountHistory, pd.DataFrame]:
    """Return an account's history over all points, and a downsampled series for a chart.

    Parameters
    ----------
    end : Decimal
        The account after the last event, exactly.
    fees : Decimal
        Total fees paid.
    span_ns : tuple of int
        When the first and the last event were, Unix ns.

    Returns
    -------
    AccountHistory
        From every point.
    DataFrame
        ``ts_ns``, ``equity`` and ``drawdown`` (from the running maximum), with the extremes of each time bin.
    """
    first_ns, last_ns = span_ns
    days = _Samples(calendar.closes(first_ns, last_ns), float(start))
    stretches = _Samples(np.linspace(first_ns, last_ns, PERIODS + 1).astype(np.int64), float(start))
    peak, deepest, deepest_share = float(start), 0.0, math.nan if start <= 0 else 0.0
    charts: list[pd.DataFrame] = []
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
        charts.append(
            pd.DataFrame({"ts_ns": points.ts_ns[kept], "equity": points.equity[kept], "drawdown": below[kept]})
        )
    chart = pd.concat(charts, ignore_index=True)
    if len(chart) > 8 * BINS:
        ts_ns = chart["ts_ns"].to_numpy()
        kept = np.union1d(*(line_points(ts_ns, chart[name].to_numpy()) for name in ("equity", "drawdown")))
        chart = chart.iloc[kept].reset_index(drop=True)
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
    return history, chart


class _Samples:
    """Equity at given times: after the last point up to each."""

    def __init__(self, ends: NDArray[np.int64], start: float) -> None:
        self.ends = ends
        self.equity = np.full(len(ends), start)
        self.points = np.zeros(len(ends), dtype=np.int64)
        """Number of points since the time before each."""

    def add(self, points: EquityPoints) -> None:
        """Add a piece, in order of time."""
        upto = np.searchsorted(points.ts_ns, self.ends, side="right")
        known = upto > 0
        self.equity[known] = points.equity[upto[known] - 1]
        self.points += np.diff(upto, prepend=0)
