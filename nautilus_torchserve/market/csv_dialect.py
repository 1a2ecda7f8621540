"""The dialect of a CSV file: encoding, delimiter, and lines before the header.

`csv.Sniffer` is not used: between a semicolon and a decimal comma it decides for the comma.
"""

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass

from nautilus_torchserve.market.bad_data import BadData

DELIMITERS = ",;\t|"
"""Delimiters that are recognised."""
SAMPLE = 1 << 16
"""Bytes that the delimiter is derived from."""
DECLARED = re.compile(f'"?sep=([{DELIMITERS}])"?', re.IGNORECASE)
"""First line in which a spreadsheet names the delimiter."""
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


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
    encoding = _encoding(name, content)
    sample = content[: SAMPLE - SAMPLE % 2]
    whole = len(sample) == len(content)
    text = sample.decode(encoding, "strict" if whole else "ignore")
    lines = [line for line in text.splitlines() if line.strip()]
    lines = lines if whole or len(lines) < 2 else lines[:-1]
    if declared := DECLARED.fullmatch(lines[0] if lines else ""):
        return CsvDialect(encoding, declared[1], lines[0])
    delimiter = max(DELIMITERS, key=lambda delimiter: _regularity(lines, delimiter))
    widths = [len(cells) for cells in csv.reader(lines[:2], delimiter=delimiter)]
    preamble = lines[0].strip() if len(widths) == 2 and widths[0] == 1 < widths[1] else ""
    return CsvDialect(encoding, delimiter, preamble)


def _encoding(name: str, content: bytes) -> str:
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding
    if b"\0" in content[:SAMPLE]:
        raise BadData(f"{name}: expected a text file or Parquet, got binary data (or UTF-16 without byte order mark)")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end == len(content) and error.reason.startswith("unexpected end"):
            raise BadData(f"{name}: expected UTF-8, got a file that ends within a character") from None
        return "cp1252"
    return "utf-8"


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
