"""How market data are read where a file does not say it itself, and where each row of a file stands."""

import csv
import zoneinfo
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pandas.io.common import get_handle  # type: ignore[import-not-found]

from nautilus_torchserve.user_error import InvalidArgument

STAMPS = ("open", "close")
"""Which end of its bar a stamp may be."""


class BadReadOption(InvalidArgument):
    """A way of reading that does not exist."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read market data.

    Raises
    ------
    BadReadOption
        An unknown stamp or timezone.
    """

    stamp: str = "open"
    """Which end of its bar a CSV's stamp is: ``open``, as venues export, or ``close``."""
    timezone: str | None = None
    """IANA name of the zone of times that carry no offset from UTC; None takes them as UTC, and says so."""
    allow_jumps: bool = False
    """Whether prices that jump as they do at an unadjusted split are let through; they are reported all the same."""

    def __post_init__(self) -> None:
        if self.stamp not in STAMPS:
            raise BadReadOption(f"stamp: expected {' or '.join(STAMPS)}, got {self.stamp!r}")
        if self.timezone is not None:
            check_timezone(self.timezone)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; what was not given is left out, as TorchServe leaves out JSON's ``null``."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def check_timezone(name: str) -> str:
    """Return the name of a timezone of the IANA database.

    Raises
    ------
    BadReadOption
        There is none of this name.
    """
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise BadReadOption(
            f"expected the IANA name of a timezone such as America/New_York or UTC, got {name!r}"
        ) from None
    return name


class RowLines(Protocol):
    """Where the rows of a file stand in it."""

    def line(self, row: int) -> int | None:
        """Line of a row (0-based, header not counted), as an editor counts: from 1; None where it is not known."""


@dataclass(frozen=True)
class CsvLines:
    """Lines of a CSV file's rows, looked up in the file when one is needed for a message."""

    path: Path
    """The file, plain or compressed."""
    first: int
    """Records before row 0: 1 where the file has a header."""

    def after(self, rows: int) -> "CsvLines":
        """The same without the first ``rows`` rows."""
        return replace(self, first=self.first + rows)

    def line(self, row: int) -> int | None:
        """See `RowLines.line`; blank lines are no rows, and a quoted cell may span several lines."""
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
