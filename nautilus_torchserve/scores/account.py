"""Statistics of an account: drawdown, daily returns and their ratios, closed trades."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.scores.calendar import TradingCalendar

MIN_DAYS = 3
"""Fewest daily returns that a ratio is computed from."""
Statistics = Mapping[str, float]
"""Name -> value; NaN where it cannot be computed."""


@dataclass(frozen=True, eq=False)
class AccountHistory:
    """An account marked to market at every event, fees deducted; aggregated, not sampled."""

    start: float
    """Before the first event."""
    end: float
    """After the last event."""
    pnl: float
    """Profit and loss, rounded once."""
    fees: float
    """Total fees paid."""
    max_drawdown: float
    """Least value of equity less its highest so far, over all events; never positive."""
    max_drawdown_share: float
    """Least value of that as a share of the highest so far; NaN where that was never positive."""
    calendar: TradingCalendar
    """Which days `day_ends` and `day_equity` are of."""
    day_ends: NDArray[np.int64]
    """End of each trading day, Unix ns [d]; the last one may be after the last event."""
    day_equity: NDArray[np.float64]
    """Equity at the end of each day [d]."""
    stretch_equity: NDArray[np.float64]
    """Equity at the ends of equal periods, the start first [s + 1]."""

    @property
    def daily_returns(self) -> NDArray[np.float64]:
        """Return of each trading day on the equity before it, the first one on the start [d]; 0 without equity."""
        before = np.concatenate([[self.start], self.day_equity[:-1]])
        change = self.day_equity - before
        return np.divide(change, before, out=np.zeros_like(change), where=before > 0)


def drawdown(equity: NDArray[np.float64], peak: float = -math.inf) -> NDArray[np.float64]:
    """Return equity less its running maximum [n], never positive; ``peak`` is the maximum before these."""
    return equity - np.maximum(np.maximum.accumulate(equity), peak)


def return_statistics(history: AccountHistory) -> Statistics:
    """Return the ratios of the net daily returns, without a risk-free rate; NaN with fewer than `MIN_DAYS` days.

    The deviation is that of a sample (n - 1); Sortino's is the root mean square of all days' losses.
    """
    returns, year = history.daily_returns, history.calendar.days_a_year
    names = (
        f"Sharpe Ratio ({year} days)", f"Sortino Ratio ({year} days)", f"Returns Volatility ({year} days)",
        "Average (Return)", "Average Win (Return)", "Average Loss (Return)", "Profit Factor", "Win Rate",
    )  # fmt: skip
    if len(returns) < MIN_DAYS:
        return {"Days": float(len(returns)), **dict.fromkeys(names, math.nan)}
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    downside = math.sqrt(float((np.minimum(returns, 0) ** 2).mean()))
    wins, losses = returns[returns > 0], returns[returns < 0]
    values = (
        _ratio(mean, deviation) * math.sqrt(year),
        _ratio(mean, downside) * math.sqrt(year),
        deviation * math.sqrt(year),
        mean,
        _mean(wins),
        _mean(losses),
        _ratio(float(wins.sum()), -float(losses.sum())),
        len(wins) / len(returns),
    )
    return {"Days": float(len(returns)), **dict(zip(names, values, strict=True))}


def trade_statistics(pnl: NDArray[np.float64], returns: NDArray[np.float64]) -> Statistics:
    """Return the statistics of closed trades, from their P&L after fees [n] and as a share of the value opened [n]."""
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    return {
        "Trades": float(len(pnl)),
        "Win Rate": _ratio(len(wins), len(pnl)),
        "Profit Factor": _ratio(float(wins.sum()), -float(losses.sum())),
        "Expectancy": _mean(pnl),
        "Average (Return)": _mean(returns),
        "Max Winner": float(wins.max()) if len(wins) else math.nan,
        "Avg Winner": _mean(wins),
        "Avg Loser": _mean(losses),
        "Max Loser": float(losses.min()) if len(losses) else math.nan,
    }


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _ratio(part: float, whole: float) -> float:
    """Return part / whole; NaN where the whole is not positive."""
    return part / whole if whole > 0 else math.nan
