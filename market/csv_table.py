"""A CSV file's cells as texts, whatever its columns mean: reading, times, and errors that name the place."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from market.decimals import parse_integers
from market.trades import BadData

FIRST_S, LAST_S = 946_684_800, 4_102_444_800
"""The years 2000 to 2099 in Unix seconds: within them no two units of time can be confused."""
TIME_UNITS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
"""Units of Unix times, and their length in ns."""
NINETEEN_DIGITS = "[0-4][0-9]{18}"
"""Unix ns since 2001: one digit more than `market.decimals` takes, but still an int64."""
ISO_DATE = r"\d{4}-\d{2}-\d{2}"
"""How a time that is no number begins; pandas alone would take ``now`` and ``2024`` too."""
ISO_OFFSET = r"[T ].*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
"""How one with an offset from UTC ends."""


@dataclass(frozen=True, eq=False)
class Table:
    """A file's cells as texts under the names of their columns."""

    name: str
    """The file's, for error messages."""
    frame: pd.DataFrame
    """Cells [n, columns], each a str."""

    def texts(self, column: str) -> NDArray[np.object_]:
        """A column's cells [n]."""
        return self.frame[column].to_numpy()

    def refusal(self, column: str) -> Callable[[int, str], BadData]:
        """What makes the error for a row of ``column``, given what was expected there."""

        def refuse(row: int, expected: str) -> BadData:
            was = self.frame[column].iloc[row]
            return BadData(f"{self.name}: row {row}, column {column!r}: {expected} expected, was {was!r}")

        return refuse

    def times(self, column: str, example: str) -> NDArray[np.int64]:
        """Unix ns [n] from Unix or ISO 8601 times, the first row tells which; UTC where there is no offset.

        Parameters
        ----------
        example : str
            What was expected, for the error.
        """
        cells = self.frame[column]
        if is_number(cells.iloc[0]):
            return self.unix_times(column, tuple(TIME_UNITS))
        times = np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[ns]")
        has_offset = cells.str.contains(ISO_OFFSET, regex=True).to_numpy()
        for alike in (has_offset, ~has_offset):  # pandas lends a time without an offset that of the one above it
            texts = cells[alike]
            parsed = pd.to_datetime(texts.where(texts.str.match(ISO_DATE)), format="ISO8601", utc=True, errors="coerce")
            times[alike] = parsed.to_numpy(dtype="datetime64[ns]")
        bad = np.isnat(times)
        if bad.any():
            raise self.refusal(column)(int(bad.argmax()), example)
        return times.astype(np.int64)

    def unix_times(self, column: str, units: tuple[str, ...]) -> NDArray[np.int64]:
        """Unix ns [n] from Unix times in any of ``units``, which no date from 2000 to 2099 leaves in doubt."""
        refuse = self.refusal(column)
        texts = self.texts(column)
        long = self.frame[column].str.fullmatch(NINETEEN_DIGITS).to_numpy()
        raw = parse_integers(np.where(long, "0", texts), refuse)
        raw[long] = texts[long].astype(np.int64)
        unit_ns = np.zeros(len(raw), dtype=np.int64)
        for unit in units:
            per_second = 10**9 // TIME_UNITS[unit]
            unit_ns[(raw >= FIRST_S * per_second) & (raw < LAST_S * per_second)] = TIME_UNITS[unit]
        if not unit_ns.all():
            raise refuse(int((unit_ns == 0).argmax()), f"Unix {' or '.join(units)} of 2000 to 2099")
        return raw * unit_ns

    def only_value(self, column: str) -> str:
        """The one text that all of a column's cells hold; another one is refused with its row."""
        cells = self.frame[column]
        other = (cells != cells.iloc[0]).to_numpy()
        if other.any():
            raise self.refusal(column)(int(other.argmax()), f"only {cells.iloc[0]!r}")
        return cells.iloc[0]


def read_cells(path: Path, what: str) -> tuple[pd.DataFrame, list[str], bool]:
    """Read a CSV file, plain, ``.gz`` or ``.zip``, every cell as the text it is.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What a row of it is ("trade"), for messages.

    Returns
    -------
    cells : pandas.DataFrame
        Of text [n, columns], n >= 1, without the header.
    first : list of str
        The file's first line: the header, or the first row.
    has_header : bool
        Whether the first line is a header: none of its cells is a number.
    """
    cells = _read_texts(path, what)
    first = [str(cell).strip() for cell in cells.iloc[0]]
    has_header = not any(is_number(cell) for cell in first)
    if has_header:
        cells = cells.iloc[1:]
    if cells.empty:
        raise BadData(f"{path.name}: at least one {what} expected, was only a header")
    return cells, first, has_header


def _read_texts(path: Path, what: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path, header=None, dtype=str, na_filter=False, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise BadData(f"{path.name}: at least one {what} expected, was an empty file") from None
    except (pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadData(f"{path.name}: comma-separated values expected, was unreadable: {str(error).strip()}") from error


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
