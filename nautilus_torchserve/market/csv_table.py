"""CSV cells as text, whatever the columns mean: reading, times, and errors that name the place."""

import re
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market import local_time
from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.csv_dialect import short
from nautilus_torchserve.market.dates import ISO_DATE, to_iso
from nautilus_torchserve.market.decimals import Refusal, has_exponent, parse_decimals
from nautilus_torchserve.market.local_time import DAY_NS

FIRST_S, LAST_S = 946_684_800, 4_102_444_800
"""The years 2000 to 2099 in Unix seconds: within them no two units of time can be confused."""
TIME_UNITS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
"""Units of Unix times, and their length in ns."""
NINETEEN_DIGITS = "[0-4][0-9]{18}"
"""Unix ns since 2001: one digit more than `market.decimals` takes, but still an int64."""
COMPACT_DATE = re.compile(r"(19|20)\d{6}|(19|20)\d{10}|(19|20)\d{12}")
"""Digits of a date, or of a date and a time, which no Unix time of 2000 to 2099 has as many of."""
ISO_OFFSET = r"[T ].*?(?:(?P<zulu>Z)|(?P<sign>[+-])(?P<hours>\d{2})(?::?(?P<minutes>\d{2}))?)$"
"""End of an ISO 8601 time with an offset from UTC."""
SPREADSHEET = "open the published file, not one that a spreadsheet saved"
"""Remedy for lost digits."""


class RowLines(Protocol):
    """Line numbers of a file's rows."""

    def line(self, row: int) -> int | None:
        """Return the line of a row (0-based, header not counted), from 1 as in an editor; None if unknown."""


class Times(NamedTuple):
    """A column of times."""

    utc_ns: NDArray[np.int64]
    """Unix ns [n]."""
    offset_ns: NDArray[np.int64] | None
    """Offset of the local clocks from UTC [n]; None for Unix times, which have no zone."""
    note: str | None
    """What was assumed in reading them."""


@dataclass(frozen=True, eq=False)
class Table:
    """A file's cells as text, under their column names.

    Raises
    ------
    BadData
        Two columns have one name.
    """

    name: str
    """Name of the file, for error messages."""
    frame: pd.DataFrame
    """Cells [n, columns], each a str."""
    lines: RowLines | None
    """Line numbers of the rows; None where they have none."""

    def __post_init__(self) -> None:
        twice = self.frame.columns[self.frame.columns.duplicated()]
        if len(twice):
            raise BadData(f"{self.name}: line 1: expected every column once, got {twice[0]!r} more than once")

    def texts(self, column: str) -> NDArray[np.object_]:
        """Return a column's cells [n]."""
        return self.frame[column].to_numpy()

    def place(self, row: int) -> str:
        """Return the line of a row, else its number from 1."""
        line = None if self.lines is None else self.lines.line(row)
        return f"row {row + 1}" if line is None else f"line {line}"

    def refusal(self, column: str) -> Refusal:
        """Return the factory of errors for a row of ``column``, given the expectation and the remedy."""

        def refuse(row: int, expected: str, remedy: str = "") -> BadData:
            return refused(self.name, self.place(row), column, expected, self.frame[column].iloc[row], remedy)

        return refuse

    def times(
        self,
        column: str,
        example: str,
        timezone: str | None = None,
        *,
        distinct: bool = True,
        day_ends: bool = False,
        date_order: str | None = None,
    ) -> Times:
        """Return a column of Unix times or dates, by the form of the first row.

        Parameters
        ----------
        example : str
            What was expected, for the error.
        timezone : str, optional
            IANA name of the zone of times without an offset; None takes them as UTC and notes it.
        distinct : bool
            Whether no two rows are of one time; see `market.local_time.to_utc`.
        day_ends : bool
            Whether a day without a time is the midnight after it, else before.
        date_order : str, optional
            Order of dates that end with the year; see `market.dates.to_iso`.
        """
        if is_unix(self.frame[column].iloc[0]):
            return Times(self.unix_times(column, tuple(TIME_UNITS)), None, None)
        refuse = self.refusal(column)
        cells = to_iso(self.frame[column], date_order, refuse)
        parts = cells.str.extract(ISO_OFFSET, expand=True)
        has_offset = (parts["zulu"].notna() | parts["sign"].notna()).to_numpy()
        is_day = cells.str.fullmatch(ISO_DATE).to_numpy(dtype=bool)
        times = np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[ns]")
        for alike in (has_offset, ~has_offset):  # pandas lends a time without an offset that of the one above it
            texts = cells[alike]
            parsed = pd.to_datetime(texts.where(texts.str.match(ISO_DATE)), format="ISO8601", utc=True, errors="coerce")
            times[alike] = parsed.to_numpy(dtype="datetime64[ns]")
        bad = np.isnat(times)
        if bad.any():
            row = int(bad.argmax())
            remedy = "write dates as year-month-day" if "/" in cells.iloc[row] or "." in cells.iloc[row][:10] else ""
            raise refuse(row, example, remedy)
        times = times + np.where(is_day & day_ends, np.timedelta64(DAY_NS, "ns"), np.timedelta64(0, "ns"))
        utc_ns = times.astype(np.int64)
        if timezone is None:
            offset_ns = _offsets_ns(parts, has_offset)
            return Times(utc_ns, offset_ns, self._note_on_utc(column, ~has_offset))
        utc_ns = self._in_zone(column, times, ~has_offset, is_day, timezone, distinct, day_ends)
        of_zone_ns = local_time.offsets_ns(utc_ns, timezone)
        return Times(utc_ns, np.where(has_offset, _offsets_ns(parts, has_offset), of_zone_ns), None)

    def _in_zone(
        self,
        column: str,
        times: NDArray[np.datetime64],
        naive: NDArray[np.bool_],
        is_day: NDArray[np.bool_],
        timezone: str,
        distinct: bool,
        day_ends: bool,
    ) -> NDArray[np.int64]:
        """Convert times to Unix ns; the ``naive`` ones are local times of a zone."""
        utc_ns, clock = times.astype(np.int64), naive & ~is_day
        utc_ns[is_day] = local_time.day_bounds(times[is_day], timezone, day_ends)
        rows = np.flatnonzero(clock)
        if len(rows) and times[rows[0]] > times[rows[-1]]:
            rows = rows[::-1]  # the newest comes first: a repeated hour runs backwards
        utc_ns[rows], missing, ambiguous = local_time.to_utc(times[rows], timezone, distinct)
        if missing.any():
            expected = f"a time that clocks of {timezone} show (they skip this one when they go forward)"
            raise self.refusal(column)(int(rows[missing.argmax()]), expected, "give times with their offset from UTC")
        if ambiguous.any():
            expected = f"a time that occurs once in {timezone} (clocks went back, and the order does not say which)"
            raise self.refusal(column)(int(rows[ambiguous.argmax()]), expected, "give times with their offset from UTC")
        return utc_ns

    def _note_on_utc(self, column: str, naive: NDArray[np.bool_]) -> str | None:
        """Return the note on times without an offset."""
        if not naive.any():
            return None
        row = int(naive.argmax())
        return (
            f"{self.name}: {naive.sum():,} of {len(naive):,} times in column {column!r} carry no offset and were taken "
            f"as UTC, first in {self.place(row)} ({self.frame[column].iloc[row]!r}); --timezone names "
            "another zone."
        )

    def unix_times(self, column: str, units: tuple[str, ...]) -> NDArray[np.int64]:
        """Return Unix ns [n] from Unix times in any of ``units``, unambiguous for dates from 2000 to 2099."""
        refuse = self.refusal(column)
        texts = self.texts(column)
        long = self.frame[column].str.fullmatch(NINETEEN_DIGITS).to_numpy()
        in_digits = np.where(long, "0", texts)
        exponents = has_exponent(in_digits)
        exponents[exponents] = [is_number(text) for text in in_digits[exponents]]
        if exponents.any():
            raise refuse(int(exponents.argmax()), "a Unix time with all its digits", SPREADSHEET)
        raw, decimals = parse_decimals(in_digits, refuse)
        whole = raw // 10**decimals
        whole[long] = texts[long].astype(np.int64)
        unit_ns = np.zeros(len(raw), dtype=np.int64)
        for unit in units:
            per_second = 10**9 // TIME_UNITS[unit]
            unit_ns[(whole >= FIRST_S * per_second) & (whole < LAST_S * per_second)] = TIME_UNITS[unit]
        if not unit_ns.all():
            raise refuse(int((unit_ns == 0).argmax()), f"Unix {' or '.join(units)} of 2000 to 2099")
        fraction = np.where(long, 0, raw - whole * 10**decimals)  # below 10**9, as `decimals` is for any time
        parts_ns, rest = np.divmod(fraction * unit_ns, 10**decimals)
        if rest.any():
            raise refuse(int(rest.astype(bool).argmax()), "a Unix time in whole nanoseconds")
        return whole * unit_ns + parts_ns

    def only_value(self, column: str) -> str:
        """Return the one text in all of a column's cells; another one is refused with its line."""
        cells = self.frame[column]
        other = (cells != cells.iloc[0]).to_numpy()
        if other.any():
            raise self.refusal(column)(int(other.argmax()), f"only {cells.iloc[0]!r}")
        return cells.iloc[0]


def _offsets_ns(parts: pd.DataFrame, has_offset: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the offsets that `ISO_OFFSET` matched in ns [n]; 0 where there is none."""
    hours, minutes = (pd.to_numeric(parts[name]).fillna(0).to_numpy(dtype=np.int64) for name in ("hours", "minutes"))
    sign = np.where(parts["sign"] == "-", -1, 1)
    return np.where(has_offset, sign * (hours * 60 + minutes) * 60 * 10**9, 0)


def refused(name: str, place: str, column: str, expected: str, got: object, remedy: str = "") -> BadData:
    """Return the error for one cell of a file."""
    return BadData(
        f"{name}: {place}, column {column!r}: expected {expected}, got {short(got)}{remedy and f'; {remedy}'}"
    )


def is_unix(cell: str) -> bool:
    """Return whether a time is a number, and not the digits of a date."""
    return is_number(cell) and not COMPACT_DATE.fullmatch(cell)


def is_unix_time(cell: str, units: tuple[str, ...]) -> bool:
    """Return whether a number is a Unix time of 2000 to 2099 in one of ``units``."""
    return any(FIRST_S <= float(cell) * TIME_UNITS[unit] / 10**9 < LAST_S for unit in units)


def is_number(cell: str) -> bool:
    """Return whether a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
