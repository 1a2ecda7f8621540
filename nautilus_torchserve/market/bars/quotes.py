"""Bid and ask around the prices of bars, for backtests on bars alone.

Bars hold no quotes, so the spread is an assumption. The mid price is not: an order that is sent
once a bar has closed is filled at the next bar's open, when that bar opens.
"""

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import BadData

FINEST_SPREAD = Decimal("0.0001")
"""Smallest step of a spread, bps; keeps the products below within int64."""
LARGEST_SPREAD = 10_000


class BarQuotes(NamedTuple):
    """Quotes in order of time; of several at one time the last one is valid."""

    ts_event: NDArray[np.int64]
    """Unix ns [m]."""
    bid: NDArray[np.int64]
    """In smallest price steps [m]."""
    ask: NDArray[np.int64]
    """In smallest price steps [m]; never below the bid."""


class Breaks(NamedTuple):
    """Periods without a bar in progress, in which the market is taken to be closed; in order of time."""

    closed_ns: NDArray[np.int64]
    """When the last bar closes, Unix ns [b]."""
    open_ns: NDArray[np.int64]
    """When the next bar opens [b]; an order that is sent from the close on, and before, waits for it."""


def breaks(bars: Bars) -> Breaks:
    """Return the breaks between bars: nights, weekends, and minutes in which nothing was traded."""
    last = _last_before_breaks(bars)
    return Breaks(bars.ts_event[last], bars.ts_event[last + 1] - bars.interval_ns)


def _last_before_breaks(bars: Bars) -> NDArray[np.int64]:
    return np.flatnonzero(np.diff(bars.ts_event) > bars.interval_ns)


def bar_quotes(bars: Bars, spread_bps: float, tick: int = 1) -> BarQuotes:
    """Return the quotes that bars imply, given a spread.

    From each close on the quote stands around the next bar's open; before a break around the close, until
    the bar after the break opens. Nothing is filled at it, see `trading.backtest.closed_markets`:
    it only marks positions to market. It is repeated one interval after the close: there is no other datum then, and
    in a backtest time passes with the data only.

    Parameters
    ----------
    bars : Bars
        Checked bars.
    spread_bps : float
        Ask less bid, in bps of the price they stand around; both are rounded away from it to whole ticks.
    tick : int
        The instrument's smallest price change, in steps of 10**-price_precision.

    Raises
    ------
    ValueError
        See `half_spread`.
    BadData
        The spread leaves no bid above zero.
    """
    ts_event, price = _quoted(bars)
    half = _share(price, half_spread(spread_bps))
    bid, ask = (price - half) // tick * tick, -(-(price + half) // tick) * tick
    if (bid <= 0).any():
        raise BadData(f"{bars.source}: expected a bid above 0, got {bid.min()} steps")
    return BarQuotes(ts_event, bid, ask)


def half_spread(spread_bps: float) -> Fraction:
    """Return half of a spread as a share of the price.

    Raises
    ------
    ValueError
        The spread is negative, `LARGEST_SPREAD` or more, or finer than `FINEST_SPREAD`.
    """
    if not 0 <= spread_bps < LARGEST_SPREAD or Decimal(str(spread_bps)) % FINEST_SPREAD:
        raise ValueError(
            f"expected spread_bps in [0, {LARGEST_SPREAD}) in steps of {FINEST_SPREAD}, got {spread_bps:g}"
        )
    return Fraction(Decimal(str(spread_bps))) / 20_000


def _quoted(bars: Bars) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when quotes change, and the mid prices."""
    last = _last_before_breaks(bars)
    after_close = np.append(bars.open[1:], bars.close[-1])
    after_close[last] = bars.close[last]
    closed_ns, open_ns = breaks(bars)
    long = open_ns > closed_ns + bars.interval_ns
    ts_event = np.concatenate([bars.ts_event, closed_ns[long] + bars.interval_ns, open_ns])
    price = np.concatenate([after_close, bars.close[last[long]], bars.open[last + 1]])
    order = np.argsort(ts_event, kind="stable")
    return ts_event[order], price[order]


def _share(price: NDArray[np.int64], share: Fraction) -> NDArray[np.int64]:
    """Return ``price * share`` rounded up, exact for prices below 2**53: no product exceeds int64."""
    whole, rest = np.divmod(price, share.denominator)
    return whole * share.numerator - (-rest * share.numerator) // share.denominator
