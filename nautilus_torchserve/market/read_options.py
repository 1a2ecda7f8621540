"""Options for reading market data that files leave open."""

import re
import zoneinfo
from dataclasses import asdict, dataclass
from typing import Any

from nautilus_torchserve.user_error import InvalidArgument

UNITS_NS = {
    "SECOND": 1_000_000_000,
    "MINUTE": 60_000_000_000,
    "HOUR": 3_600_000_000_000,
    "DAY": 86_400_000_000_000,
}
STAMPS = ("open", "close")
"""Ends of its bar that a timestamp may mark."""
DATE_ORDERS = ("day-first", "month-first")
"""Orders of a date that ends with the year."""
DECIMAL_MARKS = ("point", "comma")
"""Decimal marks of numbers."""
PRICE_TYPES = ("BID", "ASK", "MID", "LAST")
"""What the prices of a catalog's bars are."""


class BadReadOption(InvalidArgument):
    """An invalid read option."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read market data.

    Raises
    ------
    BadReadOption
        An unknown stamp, timezone, order or mark.
    """

    stamp: str = "open"
    """End of its bar that a CSV's timestamp marks: ``open``, as venues export, or ``close``."""
    timezone: str | None = None
    """IANA name of the zone of times that carry no offset from UTC; None takes them as UTC and notes it."""
    allow_jumps: bool = False
    """Whether price jumps, such as unadjusted splits, are accepted; they are still reported."""
    layout: str | None = None
    """Name of the files' layout (`market.layouts`); None recognises it."""
    date_order: str | None = None
    """Order of dates that end with the year, one of `DATE_ORDERS`; None derives it, or refuses where it cannot."""
    decimal: str | None = None
    """Decimal mark of numbers, one of `DECIMAL_MARKS`; None derives it, or refuses where it cannot."""
    price_type: str | None = None
    """Which of a catalog's bars to read, one of `PRICE_TYPES`; None reads the only ones."""

    def __post_init__(self) -> None:
        if self.stamp not in STAMPS:
            raise BadReadOption(f"stamp: expected {' or '.join(STAMPS)}, got {self.stamp!r}")
        allowed = {"date_order": DATE_ORDERS, "decimal": DECIMAL_MARKS, "price_type": PRICE_TYPES}
        for name, values in allowed.items():
            if getattr(self, name) not in (None, *values):
                raise BadReadOption(f"{name}: expected {' or '.join(values)}, got {getattr(self, name)!r}")
        if self.timezone is not None:
            check_timezone(self.timezone)

    def as_dict(self) -> dict[str, Any]:
        """Return the options in plain JSON types; None is omitted, as TorchServe omits JSON's ``null``."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def check_timezone(name: str) -> str:
    """Return the name of a timezone of the IANA database.

    Raises
    ------
    BadReadOption
        The database has no such timezone.
    """
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise BadReadOption(
            f"expected the IANA name of a timezone such as America/New_York or UTC, got {name!r}"
        ) from None
    return name


class BadInterval(InvalidArgument):
    """A text that is no bar interval."""


def parse_interval(text: str) -> int:
    """Return the nanoseconds of an interval such as ``5-MINUTE``; SECOND, MINUTE, HOUR or DAY, in any case.

    Raises
    ------
    BadInterval
    """
    match = re.fullmatch(r"([1-9]\d{0,5})-([A-Z]+)", text.strip().upper(), re.ASCII)
    if match is None or match[2] not in UNITS_NS:
        raise BadInterval(f"expected bars such as 1-MINUTE, 4-HOUR or 1-DAY, got {text!r}")
    return int(match[1]) * UNITS_NS[match[2]]
