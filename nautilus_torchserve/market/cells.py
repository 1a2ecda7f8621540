"""The cells of a market data file as text, whatever the columns mean: CSV in any dialect, Parquet, Feather and DBN."""

import io
import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.csv_dialect import detect_dialect
from nautilus_torchserve.market.data_files import CsvRecords, DataFile, FileRows
from nautilus_torchserve.market.dbn import MAGIC, dbn_to_csv

COLUMNAR = (".parquet", ".pq", ".feather", ".arrow")
"""Suffixes of files that hold columns of typed values."""
PARQUET, ARROW = b"PAR1", b"ARROW1"
"""First bytes of such files, however they are named."""
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
    if content.startswith(MAGIC):
        cells = replace(_csv(file, dbn_to_csv(file.name, content)), rows=None)
    elif file.suffix in COLUMNAR or content.startswith((PARQUET, ARROW)):
        cells = _columnar(file, content)
    else:
        cells = _csv(file, content)
    if cells.frame.empty:
        raise BadData(f"{file.name}: expected at least one {what}, got only a header")
    return cells


def _csv(file: DataFile, content: bytes) -> FileCells:
    dialect = detect_dialect(file.name, content)
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep=dialect.delimiter,
            encoding=dialect.encoding,
            skiprows=1 if dialect.preamble else 0,
            header=None,
            dtype=str,
            na_filter=False,
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).strip()
        raise BadData(
            f"{file.name}: expected values separated by {dialect.delimiter!r}, got unreadable data: {reason}"
        ) from None
    notes = []
    if dialect.preamble:
        notes.append(f"{file.name}: line 1 ({dialect.preamble[:60]!r}) stands before the header and was left out.")
    if dialect.encoding == "cp1252":
        notes.append(f"{file.name}: is not UTF-8 and was read as Windows-1252.")
    head = [[str(cell).strip() for cell in frame.iloc[row]] for row in range(min(len(frame), 3))]
    before = int(bool(dialect.preamble))
    records = CsvRecords(file, dialect.encoding, dialect.delimiter)
    _refuse_short(records, content, before, frame)
    if PADDED.search(content):
        frame = frame.map(str.strip)
    rows = FileRows.of_file(records, before, len(frame))
    delimiter = dialect.delimiter if dialect.delimiter != "," or b'"' in content else ""
    if any(map(VALUE.fullmatch, head[0])):
        return FileCells(file.name, frame, None, rows, delimiter, tuple(notes))
    if len(head) == 3 and {head[0][0].lower(), head[1][0].lower()} == MULTI_LEVEL:
        header, frame, positions = _long_format(frame.iloc[3:], head)
        return FileCells(file.name, frame, header, rows.take(positions + 3), delimiter, tuple(notes))
    return FileCells(file.name, frame.iloc[1:], head[0], rows.take(slice(1, None)), delimiter, tuple(notes))


def _refuse_short(records: CsvRecords, content: bytes, before: int, frame: pd.DataFrame) -> None:
    """Refuse a row with fewer cells than others: one that was cut off, or whose cells are not where they belong.

    pandas fills such a row with empty cells at its end, whatever is missing.
    """
    rows, columns = frame.shape
    if (frame.iloc[:, -1] != "").all() or content.count(records.delimiter.encode()) == rows * (columns - 1):
        return
    if short := records.first_short(before, columns):
        line, cells = short
        raise BadData(
            f"{records.file.name}: line {line}: expected {columns} cells as in the first line, got {cells}; "
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


def _columnar(file: DataFile, content: bytes) -> FileCells:
    try:
        from pyarrow import ArrowException, feather, parquet  # a dependency of NautilusTrader, not of ours
    except ImportError:
        raise BadData(f"{file.name}: expected pyarrow to read Parquet and Feather with: pip install pyarrow") from None
    is_feather = content.startswith(ARROW) or (
        file.suffix in (".feather", ".arrow") and not content.startswith(PARQUET)
    )
    try:
        table = (feather if is_feather else parquet).read_table(io.BytesIO(content))
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
        texts = values.map(lambda value: value if isinstance(value, str) else str(value)).astype(object)
    return texts.where(~missing, "")
