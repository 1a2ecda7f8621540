"""Bar intervals in NautilusTrader's notation: ``1-MINUTE``, ``4-HOUR``, ``1-DAY``."""

import re

from nautilus_torchserve.user_error import InvalidArgument

UNITS_NS = {
    "SECOND": 1_000_000_000,
    "MINUTE": 60_000_000_000,
    "HOUR": 3_600_000_000_000,
    "DAY": 86_400_000_000_000,
}


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
