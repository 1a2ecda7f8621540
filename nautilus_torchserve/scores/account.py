"""Statistics of an account: drawdown, daily returns and their ratios, closed trades."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class TradingCalendar:
    """Trading days of an account."""

    name: str
    """Description: ``every day of the week``."""
    days_a_year: int
    """Number of days by which ratios are annualised."""
    timezone: str
    """IANA name of the time zone in which a day ends."""
    closes_at: int
    """Hour of that time zone at which a day ends; 24: midnight."""
    every_day: bool
    """Whether days without events count too; if not, they are no trading days."""
    weekdays_only: bool = False
    """Whether what happens on a Saturday or Sunday belongs to Monday."""

    def closes(self, first_ns: int, last_ns: int) -> NDArray[np.int64]:
        """Return the ends of the days that hold these times, Unix ns; a day holds its end, not its beginning."""
        zone = ZoneInfo(self.timezone)
        day = datetime.fromtimestamp(first_ns // _SECOND_NS, UTC).astimezone(zone).date() - timedelta(days=2)
        ends: list[int] = []
        while not ends or ends[-1] < last_ns:
            end = self._close(day, zone)
            if end >= first_ns and not (self.weekdays_only and day.weekday() >= 5):
                ends.append(end)
            day += timedelta(days=1)
        return np.array(ends, dtype=np.int64)

    def _close(self, day: date, zone: ZoneInfo) -> int:
        if self.closes_at == 24:
            day, hour = day + timedelta(days=1), 0
        else:
            hour = self.closes_at
        return int(datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp()) * _SECOND_NS


EVERY_DAY = TradingCalendar("every day of the week, UTC", 365, "UTC", 24, every_day=True)
"""Crypto: markets never close."""
FX_DAYS = TradingCalendar(
    "five days a week that end at 17:00 in New York", 261, "America/New_York", 17, every_day=False, weekdays_only=True
)
"""FX: Sunday evening belongs to Monday; 365.2425 * 5 / 7 days a year."""
FUTURES_SESSIONS = TradingCalendar(
    "sessions that end at 17:00 in New York", 252, "America/New_York", 17, every_day=False, weekdays_only=True
)
"""Futures, options and other contracts of exchanges: CME's session ends at 17:00 in New York."""
EQUITY_SESSIONS = TradingCalendar("UTC days with events", 252, "UTC", 24, every_day=False)
"""Equities and what is traded in their hours."""


def widest(calendars: Iterable[TradingCalendar]) -> TradingCalendar:
    """Return the calendar of an account that trades on several: the one with the most days a year."""
    return max(calendars, key=lambda calendar: calendar.days_a_year)


MIN_DAYS = 3
"""Fewest daily returns that a ratio is computed from."""
Statistics = Mapping[str, float]
"""Name -> value; NaN where it cannot be computed."""


@dataclass(frozen=True, eq=False)
class AccountHistory:
    """An account marked to market at every event, fees and charges deducted; aggregated, not sampled."""

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
    """Calendar of the days of `day_ends` and `day_equity`."""
    day_ends: NDArray[np.int64]
    """End of each trading day, Unix ns [d]; the last one may be after the last event."""
    day_equity: NDArray[np.float64]
    """Equity at the end of each day [d]."""
    stretch_equity: NDArray[np.float64]
    """Equity at the ends of equal periods, the start first [s + 1]."""
    funding: float | None = None
    """Total funding paid, negative where more was received; None: it is not charged."""
    borrow: float | None = None
    """Total interest paid on what was sold short; None: it is not charged."""

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
