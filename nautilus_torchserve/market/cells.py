"""The cells of a market data file as text, whatever the columns mean: CSV in any dialect, JSON, Parquet, Feather,
DBN and bi5.
"""

import io
import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bi5 import HEADER, read_bi5
from nautilus_torchserve.market.csv_dialect import detect_dialect
from nautilus_torchserve.market.data_files import CsvRecords, DataFile, FileRows
from nautilus_torchserve.market.dbn import MAGIC, dbn_to_csv
from nautilus_torchserve.market.json_rows import read_json_rows

COLUMNAR = (".parquet", ".pq", ".feather", ".arrow", ".arrows", ".ipc")
"""Suffixes of files that hold columns of typed values."""
PARQUET, ARROW, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
"""First bytes of such files, however they are named."""
JSON_PADDING = b"\xef\xbb\xbf \t\r\n"
"""Bytes before the first bracket of JSON."""
BYTE_ORDER_MARK = "\ufeff".encode()
"""Of UTF-8."""
NO_DATA = re.compile(rb"\s*(<!doctype|<html|<\?xml|version https://git-lfs|%PDF|PK\x03\x04)", re.IGNORECASE)
"""Start of what comes in the place of a file of market data."""
REMEDY = "download the file again, save a spreadsheet as CSV, or unpack an archive within an archive"
PADDED = re.compile(rb" [,;|\t\r\n\0]")
"""A space at the end of a cell (in UTF-16: any)."""
VALUE = re.compile(r"[-+]?\d[\d.,]*([eE][-+]?\d+)?|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}\b.*|\d{8} \d{6}(\d{3})?")
"""A number or a time: what a header has none of."""
MULTI_LEVEL = {"price", "ticker"}
"""First cells of the two lines above yfinance's ``Date,,,``: one column for each price of each ticker."""


@dataclass(frozen=True, eq=False)
class FileCells:
    """The cells of one file."""

    name: str
    """Name of the file, for messages."""
    frame: pd.DataFrame
    """Of text [n, columns], n >= 1, without the header; its columns are numbered."""
    header: list[str] | None
    """Names of the columns; None if the file has none."""
    rows: FileRows | None
    """Where the rows stand in the file; None where they have no lines."""
    delimiter: str
    """Character between cells; empty where it is a comma and no cell is quoted, so that none can contain a comma."""
    notes: tuple[str, ...] = ()
    """What was assumed or left out, a sentence each."""


def read_cells(file: DataFile, what: str) -> FileCells:
    """Read a file, every cell as the text it is; values of typed columns as the shortest text that has them exactly.

    Parameters
    ----------
    what : str
        Noun for a row ("trade"), for messages.

    Raises
    ------
    BadData
        It is unreadable, or has no row.
    """
    content = file.read()
    if not content.strip():
        raise BadData(f"{file.name}: expected at least one {what}, got an empty file")
    if other := NO_DATA.match(content):
        got = other[0].decode(errors="replace").strip()
        raise BadData(f"{file.name}: expected market data, got {got!r}, the start of a file of another kind; {REMEDY}")
    if file.suffix == ".bi5":
        ticks = pd.DataFrame(read_bi5(file.name, file.full_path, content), columns=range(len(HEADER)), dtype=object)
        cells = FileCells(file.name, ticks, HEADER, None, ",")
    elif content.startswith(MAGIC):
        cells = replace(_csv(file, dbn_to_csv(file.name, content)), rows=None)
    elif content.lstrip(JSON_PADDING)[:1] in (b"[", b"{"):
        header, rows = read_json_rows(file.name, content)
        cells = FileCells(file.name, pd.DataFrame(rows, dtype=object), header, None, ",")
    elif is_columnar(file, content):
        cells = read_columnar(file, content)
    else:
        cells = _csv(file, content)
    if cells.frame.empty:
        raise BadData(f"{file.name}: expected at least one {what}, got only a header")
    return cells


def _csv(file: DataFile, content: bytes) -> FileCells:
    dialect = detect_dialect(file.name, content)
    before = int(bool(dialect.preamble))
    records = CsvRecords(file, dialect.encoding, dialect.delimiter)
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep=dialect.delimiter,
            encoding=dialect.encoding,
            skiprows=before,
            header=None,
            dtype=str,
            na_filter=False,
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        _refuse_ragged(records, before)
        reason = str(error).strip()
        if opened := re.search(r"inside string starting at row (\d+)", reason):
            reason = f"line {records.line(before + int(opened[1]))}: a quote that is not closed"
        raise BadData(
            f"{file.name}: expected values separated by {dialect.delimiter!r}, got unreadable data: {reason}"
        ) from None
    rows, columns = frame.shape
    if (frame.iloc[:, -1] == "").any() and content.count(dialect.delimiter.encode()) != rows * (columns - 1):
        _refuse_ragged(records, before)  # pandas fills a short row with empty cells at its end, whatever is missing
    if PADDED.search(content):
        frame = frame.map(str.strip)
    if content.find(BYTE_ORDER_MARK, 1) > 0:  # of files that were joined
        frame[0] = frame[0].str.removeprefix("\ufeff")
    notes = []
    if dialect.preamble:
        notes.append(f"{file.name}: line 1 ({dialect.preamble[:60]!r}) stands before the header and was left out.")
    if dialect.encoding == "cp1252":
        notes.append(f"{file.name}: is not UTF-8 and was read as Windows-1252.")
    delimiter = dialect.delimiter if dialect.delimiter != "," or b'"' in content else ""
    cells = FileCells(file.name, frame, None, FileRows.of_file(records, before, rows), delimiter, tuple(notes))
    return _with_header(cells)


def _with_header(cells: FileCells) -> FileCells:
    """Return the cells with their header apart, which files that were joined have several times."""
    frame, lines = cells.frame, cells.rows
    head = [[str(cell).strip() for cell in frame.iloc[row]] for row in range(min(len(frame), 3))]
    if any(map(VALUE.fullmatch, head[0])) or lines is None:
        return cells
    if len(head) == 3 and {head[0][0].lower(), head[1][0].lower()} == MULTI_LEVEL:
        header, frame, positions = _long_format(frame.iloc[3:], head)
        return replace(cells, frame=frame, header=header, rows=lines.take(positions + 3))
    is_header = (frame[0].str.strip() == head[0][0]).to_numpy()
    for row in np.flatnonzero(is_header)[1:].tolist():
        is_header[row] = [cell.strip() for cell in frame.iloc[row]] == head[0]
    again = np.flatnonzero(is_header)[1:]
    notes = cells.notes
    if len(again):
        place = f"line {lines.line(int(again[0]))}"
        notes = (*notes, f"{cells.name}: {len(again):,} rows repeat the header and were left out, first in {place}.")
    data = np.flatnonzero(~is_header)
    return replace(cells, frame=frame.iloc[data], header=head[0], rows=lines.take(data), notes=notes)


def _refuse_ragged(records: CsvRecords, before: int) -> None:
    """Refuse a row with fewer or more cells than the first: cut off, joined, or with cells where they do not belong."""
    if ragged := records.first_ragged(before):
        line, expected, got = ragged
        raise BadData(
            f"{records.file.name}: line {line}: expected {expected} cells as in the first line, got {got}; "
            "remove or complete the row, or download the file again if it was cut off"
        )


def _long_format(wide: pd.DataFrame, head: list[list[str]]) -> tuple[list[str], pd.DataFrame, np.ndarray]:
    """Return yfinance's columns of several tickers one below the other: header, cells, and each one's row."""
    level = {line[0].lower(): line[1:] for line in head[:2]}
    blocks, positions = [], []
    fields = list(dict.fromkeys(level["price"]))
    for ticker in dict.fromkeys(level["ticker"]):
        at = {
            name: column
            for column, (name, of) in enumerate(zip(level["price"], level["ticker"], strict=True), 1)
            if of == ticker
        }
        if {*at} != {*fields}:
            continue
        block = wide[[0, *(at[name] for name in fields)]].set_axis(range(len(fields) + 1), axis=1)
        listed = np.flatnonzero((block.iloc[:, 1:] != "").any(axis=1).to_numpy())
        block = block.iloc[listed]
        block[len(fields) + 1] = ticker
        blocks.append(block)
        positions.append(listed)
    return [head[2][0], *fields, "Ticker"], pd.concat(blocks), np.concatenate(positions)


def is_columnar(file: DataFile, content: bytes) -> bool:
    """Return whether a file is Parquet, Feather or Arrow, by its content or its name."""
    return file.suffix in COLUMNAR or content.startswith((PARQUET, ARROW, ARROW_STREAM))


def read_columnar(file: DataFile, content: bytes) -> FileCells:
    """Read a file of columns of typed values, each value as the shortest text that has it exactly.

    Raises
    ------
    BadData
        It is unreadable.
    """
    try:
        from pyarrow import ArrowException, feather, ipc, parquet  # a dependency of NautilusTrader, not of ours
    except ImportError:
        raise BadData(f"{file.name}: expected pyarrow to read Parquet and Feather with: pip install pyarrow") from None
    is_feather = content.startswith((ARROW, ARROW_STREAM)) or (
        file.suffix in COLUMNAR[2:] and not content.startswith(PARQUET)
    )
    try:
        if content.startswith(ARROW_STREAM):
            table = ipc.open_stream(content).read_all()
        elif is_feather:
            table = feather.read_table(io.BytesIO(content))
        else:
            table = parquet.read_table(io.BytesIO(content), page_checksum_verification=True)
        header = ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in table.column_names]
        frame = pd.DataFrame({place: _texts(column) for place, column in enumerate(table.columns)}, dtype=object)
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        kind = "Feather" if is_feather else "Parquet"
        raise BadData(f"{file.name}: expected a {kind} file, got unreadable data: {error}") from None
    return FileCells(file.name, frame, header, None, ",")


def _texts(column: object) -> pd.Series:
    """Return a typed column as text: numbers in the shortest form that has them, times in ISO 8601, null as ``""``."""
    values = column.to_pandas(integer_object_nulls=True)  # type: ignore[attr-defined]
    missing = values.isna()
    if pd.api.types.is_datetime64_any_dtype(values):
        zoned = isinstance(values.dtype, pd.DatetimeTZDtype)
        if zoned:
            values = values.dt.tz_convert("UTC").dt.tz_localize(None)
        texts = pd.Series(np.datetime_as_string(values.to_numpy()), dtype=object) + ("Z" if zoned else "")
    else:
        if values.dtype == object and values.map(np.ndim).any():
            values = pd.Series(column.to_pylist())  # type: ignore[attr-defined] # lists rather than arrays
        texts = pd.Series([str(value) for value in values.array], dtype=object)  # float32 in its own shortest digits
    return texts.where(~missing, "")
