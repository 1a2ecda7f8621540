"""Trading calendars: ends of trading days, and their number per year."""

from collections.abc import Iterable
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
