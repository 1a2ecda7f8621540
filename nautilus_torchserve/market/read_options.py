"""Options for reading market data that files leave open, and line numbers of their rows."""

import csv
import re
import zoneinfo
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pandas.io.common import get_handle  # type: ignore[import-not-found]

from nautilus_torchserve.user_error import InvalidArgument

UNITS_NS = {
    "SECOND": 1_000_000_000,
    "MINUTE": 60_000_000_000,
    "HOUR": 3_600_000_000_000,
    "DAY": 86_400_000_000_000,
}
STAMPS = ("open", "close")
"""Ends of its bar that a timestamp may mark."""


class BadReadOption(InvalidArgument):
    """An invalid read option."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read market data.

    Raises
    ------
    BadReadOption
        An unknown stamp or timezone.
    """

    stamp: str = "open"
    """End of its bar that a CSV's timestamp marks: ``open``, as venues export, or ``close``."""
    timezone: str | None = None
    """IANA name of the zone of times that carry no offset from UTC; None takes them as UTC and notes it."""
    allow_jumps: bool = False
    """Whether price jumps, such as unadjusted splits, are accepted; they are still reported."""

    def __post_init__(self) -> None:
        if self.stamp not in STAMPS:
            raise BadReadOption(f"stamp: expected {' or '.join(STAMPS)}, got {self.stamp!r}")
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


class RowLines(Protocol):
    """Line numbers of a file's rows."""

    def line(self, row: int) -> int | None:
        """Return the line of a row (0-based, header not counted), from 1 as in an editor; None if unknown."""


@dataclass(frozen=True)
class CsvLines:
    """Lines of a CSV file's rows, looked up in the file when one is needed for a message."""

    path: Path
    """The file, plain or compressed."""
    first: int
    """Records before row 0: 1 where the file has a header."""

    def after(self, rows: int) -> "CsvLines":
        """Return the lines without the first ``rows`` rows."""
        return replace(self, first=self.first + rows)

    def line(self, row: int) -> int | None:
        """Return the line of a row; blank lines are no rows, and a quoted cell may span several lines."""
        record, line = -1, 1
        try:
            with get_handle(self.path, "r", compression="infer", encoding="utf-8", errors="replace") as opened:
                reader = csv.reader(opened.handle)
                for cells in reader:
                    record += len(cells) > 1 or any(cell.strip() for cell in cells)
                    if record == self.first + row:
                        return line
                    line = reader.line_num + 1
        except (OSError, ValueError, csv.Error):  # gone, or not what it was
            return None
        return None


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
