"""The dialect of a CSV file: encoding, delimiter, and lines before the header.

`csv.Sniffer` is not used: between a semicolon and a decimal comma it decides for the comma.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nautilus_torchserve.market.bad_data import BadData

DELIMITERS = ",;\t|"
"""Delimiters that are recognised."""
SAMPLE = 1 << 16
"""Bytes that the delimiter is derived from."""
DECLARED = re.compile(f'"?sep=([{DELIMITERS}])"?', re.IGNORECASE)
"""First line in which a spreadsheet names the delimiter."""
BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

UTF_8 = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|[\xf1-\xf4][\x80-\xbf]{3}")
"""A character that UTF-8 writes in several bytes."""
NOT_ASCII = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True)
class CsvDialect:
    """How the text of a CSV file is written."""

    encoding: str
    """Python's name of the encoding."""
    delimiter: str
    """Character between cells."""
    preamble: str
    """The line before the header, such as the URL that CryptoDataDownload writes; empty if there is none."""


def detect_dialect(name: str, content: bytes) -> CsvDialect:
    """Derive the dialect of a CSV file from its content.

    A file is in UTF-8, in UTF-16 with a byte order mark, or else in Windows-1252. The delimiter is the one that divides
    most of the first lines into one number of columns; the comma, which may be a decimal mark, only where no other one
    does as well.

    Parameters
    ----------
    name : str
        Name of the file, for messages.

    Raises
    ------
    BadData
        The file is binary.
    """
    encoding = detect_encoding(name, content)
    sample = content[: SAMPLE - SAMPLE % 2]
    whole = len(sample) == len(content)
    text = sample.decode(encoding, "ignore")
    lines = [line for line in text.splitlines() if line.strip()]
    lines = lines if whole or len(lines) < 2 else lines[:-1]
    if declared := DECLARED.fullmatch(lines[0] if lines else ""):
        return CsvDialect(encoding, declared[1], lines[0])
    delimiter = max(DELIMITERS, key=lambda delimiter: _regularity(lines, delimiter))
    widths = [len(cells) for cells in csv.reader(lines[:2], delimiter=delimiter)]
    preamble = lines[0].strip() if len(widths) == 2 and widths[0] == 1 < widths[1] else ""
    return CsvDialect(encoding, delimiter, preamble)


def read_records(name: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a CSV file, each with the line that it begins in; empty lines are skipped.

    Quotes are read strictly: a stray one would join what it stands in with the lines that follow.

    Raises
    ------
    BadData
        A quote is not closed, or stands within a cell.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        got = short([*io.StringIO(text, newline="")][line - 1].rstrip())
        raise BadData(
            f"{name}: line {line}: expected cells separated by {delimiter!r}, got {got} ({error}); quote a cell with "
            "quotes in it, and double these"
        ) from None


def joined_cells(cells: list[str], delimiter: str) -> list[str]:
    """Return the cells that stand in ``cells`` of several lines, should a stray quote have joined rows to one."""
    return [
        part.strip() for cell in cells if "\n" in cell for line in cell.splitlines() for part in line.split(delimiter)
    ]


def short(value: object) -> str:
    """Format a value for a message, truncated if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def detect_encoding(name: str, content: bytes) -> str:
    """Return Python's name of an encoding: UTF-8, UTF-16 with a byte order mark, or else Windows-1252.

    Raises
    ------
    BadData
        The content is binary, or in none of these.
    """
    encoding = next((encoding for mark, encoding in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise BadData(f"{name}: expected a text file or Parquet, got binary data (or UTF-16 without byte order mark)")
    is_mixed = False
    for candidate in [encoding] if encoding else ["utf-8", "cp1252"]:
        if candidate == "cp1252" and (is_mixed := _is_mostly_utf_8(content)):
            break
        try:
            content.decode(candidate)
            return candidate
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            invalid = content[error.start : error.end]
    raise BadData(
        f"{name}: line {line}: expected text in {encoding or 'UTF-8 or Windows-1252'}, got the bytes {invalid!r}"
        + (" in a file that is UTF-8 elsewhere; download it again, or write all of it in UTF-8" if is_mixed else "")
    )


def _is_mostly_utf_8(content: bytes) -> bool:
    """Return whether characters of UTF-8 are at least as many as other bytes that are not ASCII."""
    others, characters = UTF_8.subn(b"", content)
    return characters > 0 and characters >= len(NOT_ASCII.findall(others))


def _regularity(lines: list[str], delimiter: str) -> tuple[float, bool, int]:
    """Return the share of lines that have the commonest number of columns, 0 if that is one; then what else counts."""
    try:
        widths = Counter(len(cells) for cells in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    except csv.Error:
        return 0.0, False, 0
    if not widths:
        return 0.0, False, 0
    width, count = max(widths.items(), key=lambda pair: (pair[1], pair[0]))
    return (count / widths.total() if width > 1 else 0.0), delimiter != ",", width
