"""Files of headlines as rows of texts under known names, CSV, JSON and columnar files alike;
`market.news.headlines` reads them.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.cells import is_columnar, read_columnar
from nautilus_torchserve.market.csv_dialect import DELIMITERS, detect_encoding, joined_cells, read_records, short
from nautilus_torchserve.market.csv_table import Table, refused
from nautilus_torchserve.market.data_files import DataFile, require_files

NAMES = {
    "text": ("text", "headline", "title"),
    "published": (
        *("published", "published_at", "publishedat", "published_utc", "created_at", "time_published"),
        *("timestamp", "ts_event", "date", "datetime", "time"),
    ),
    "received": ("received", "ts_init"),
    "source": ("source",),
    "instruments": (
        *("instrument_ids", "instrument_id", "instruments", "instrument", "symbols", "symbol", "tickers", "ticker"),
        *("stocks", "stock", "assets", "asset", "coins", "coin"),
    ),
}
"""Key -> accepted column names."""
SYMBOL = re.compile(r"\$?(?:[A-Z]{2,10}:)?(?=[A-Z0-9]*[A-Z])[A-Z0-9]{1,10}(?:[./-][A-Z0-9]{1,9})*")
"""Pattern of a symbol: ``AAPL``, ``BRK.B``, ``$TSLA``, ``NASDAQ:AAPL``, ``BTC-USDT``."""
NO_SYMBOLS = ("lang", "language", "country", "region", "category", "section", "type", "sentiment", "label", "provider")
"""Columns whose upper-case values are no symbols."""
TIME = re.compile(r"\d{4}-\d{2}-\d{2}\b.*|\d{1,2}[./]\d{1,2}[./]\d{4}\b.*|\d{10}(\d{3}){0,3}(\.\d+)?")
"""Pattern of a cell that is a time."""
TIMES = ("published", "received")
REQUIRED = ("text", "published")
"""Keys that every file must have."""
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class KnownLines:
    """Lines of a file's rows, known from reading it."""

    numbers: tuple[int, ...]
    """Line of each row's start, counted from 1 [n]."""

    def line(self, row: int) -> int:
        """Return the line of a row; see `market.read_options.RowLines.line`."""
        return self.numbers[row]


@dataclass(frozen=True, eq=False)
class HeadlineTable(Table):
    """A file's rows under the names of their columns."""

    lines: KnownLines | None
    """Lines of the rows; None where they have none."""
    columns: dict[str, str]
    """Key of `NAMES` -> the file's column name, for those that it has."""
    notes: tuple[str, ...]
    """What was assumed in reading it, a sentence each."""

    def cells(self, key: str) -> list[str]:
        """Return the cells [n] of the column of ``key``; empty texts if the file has none."""
        column = self.columns.get(key)
        return [""] * len(self.frame) if column is None else self.frame[column].tolist()


def read_headline_tables(path: Path) -> list[HeadlineTable]:
    """Read a file, an archive, a folder of these, or a glob (`market.data_files`), each file as a table.

    A file is JSON where it is named so or begins with a bracket: an object a line, or a list of these. Parquet and
    Feather are recognised by their content; others are CSV with a header.

    Raises
    ------
    BadData
        Naming file, line, what was expected and what it was.
    """
    return [_read_file(file) for file in require_files(path, "headlines")]


def _read_file(file: DataFile) -> HeadlineTable:
    content = file.read()
    if is_columnar(file, content):
        return _columnar(file, content)
    text, notes = _text(file, content)
    begin = text.lstrip()[:1]
    if not begin:
        raise BadData(f"{file.name}: expected at least one headline, got an empty file")
    is_json = begin in "{[" or file.suffix in JSON_SUFFIXES
    columns, rows = _json_rows(file.name, text) if is_json else _csv_rows(file.name, text)
    if "instruments" not in columns:
        _refuse_symbols(file.name, _json_values(file.name, text) if is_json else _csv_values(file.name, text))
    lines, cells = [], []
    for line, row in rows:
        lines.append(line)
        cells.append(row)
    if not cells:
        raise BadData(f"{file.name}: expected at least one headline, got only a header")
    frame = pd.DataFrame(cells, columns=list(columns.values()), dtype=object)
    return HeadlineTable(file.name, frame, KnownLines(tuple(lines)), columns, notes)


def _columnar(file: DataFile, content: bytes) -> HeadlineTable:
    cells = read_columnar(file, content)
    header = cells.header or []
    columns = _columns(file.name, header)
    if cells.frame.empty:
        raise BadData(f"{file.name}: expected at least one headline, got only a header")
    if "instruments" not in columns:
        texts = ((header[at], [*map(_parts, cells.frame[at])]) for at in range(len(header)))
        _refuse_symbols(file.name, ((name, parts) for name, rows in texts for parts in rows))
    frame = cells.frame[[header.index(column) for column in columns.values()]].set_axis([*columns.values()], axis=1)
    return HeadlineTable(file.name, frame, None, columns, ())


def _refuse_symbols(name: str, values: Iterator[tuple[str, list[str]]]) -> None:
    """Refuse a file without a known column of instruments that has another column of apparent symbols.

    Parameters
    ----------
    values : iterator of (str, list of str)
        An unknown column's name and a row's values in it.
    """
    symbols: dict[str, dict[str, None]] = {}
    others = {cell.lower() for names in NAMES.values() for cell in names} | {*NO_SYMBOLS}
    for column, texts in values:
        if column.strip().lower() in others:
            continue
        if all(map(SYMBOL.fullmatch, texts)):
            symbols.setdefault(column, {}).update(dict.fromkeys(texts))
        else:
            others.add(column.strip().lower())
            symbols.pop(column, None)
    for column, distinct in symbols.items():
        if len(distinct) > 1:
            raise BadData(
                f"{name}: expected instruments in a column named {', '.join(NAMES['instruments'])}, got column "
                f"{column!r} of what look like symbols ({', '.join([*distinct][:3])}); rename it, or "
                "remove it if it holds none"
            )


def _csv_values(name: str, text: str) -> Iterator[tuple[str, list[str]]]:
    records = read_records(name, text, _delimiter(text))
    header = next(records)[1]
    for _, cells in records:
        yield from ((column, _parts(cell)) for column, cell in zip(header, cells, strict=False))


def _json_values(name: str, text: str) -> Iterator[tuple[str, list[str]]]:
    for _, pairs in _objects(name, text):
        for key, value in pairs:
            texts = value if isinstance(value, list) else [value]
            yield key, [part for item in texts for part in (_parts(item) if isinstance(item, str) else [repr(item)])]


def _parts(cell: str) -> list[str]:
    return [part for part in re.split(r"[;|,\s]+", cell) if part]


def _text(file: DataFile, content: bytes) -> tuple[str, tuple[str, ...]]:
    """Return a file's text, and a note where its encoding was assumed."""
    encoding = detect_encoding(file.name, content)
    note = f"{file.name}: is not UTF-8 and was read as Windows-1252."
    return content.decode(encoding), (note,) if encoding == "cp1252" else ()


def _csv_rows(name: str, text: str) -> tuple[dict[str, str], Iterator[tuple[int, list[str]]]]:
    """Return the columns of a CSV file, and its rows: line and cells of these columns."""
    delimiter = _delimiter(text)
    header = [cell.strip() for cell in next(read_records(name, text, delimiter))[1]]
    columns = _columns(name, header)
    places = {key: header.index(column) for key, column in columns.items()}

    def rows() -> Iterator[tuple[int, list[str]]]:
        records = read_records(name, text, delimiter)
        next(records)
        for line, cells in records:
            if len(cells) != len(header):
                raise BadData(f"{name}: line {line}: expected {len(header)} cells, got {len(cells)}: {short(cells)}")
            if any(map(TIME.fullmatch, joined_cells(cells, delimiter))):
                got = f"several rows in a quoted cell: {short(cells)}"
                raise BadData(f"{name}: line {line}: expected one headline, got {got}; close the quote, or double it")
            yield line, [cells[at].strip() if key in TIMES else cells[at] for key, at in places.items()]

    return columns, rows()


def _delimiter(text: str) -> str:
    """Return the delimiter with which the header has most known names, the first of equals."""
    return max(DELIMITERS, key=lambda delimiter: _known_names(text, delimiter))


def _known_names(text: str, delimiter: str) -> int:
    """Return the number of names of `NAMES` in a CSV header with a delimiter."""
    try:
        _, header = next(read_records("", text, delimiter))
    except BadData:
        return 0
    return len(_recognised(header))


def _json_rows(name: str, text: str) -> tuple[dict[str, str], Iterator[tuple[int, list[str]]]]:
    """Return the columns of a JSONL file, as its first object names them, and its rows."""
    objects = _objects(name, text)
    first_line, first = next(objects)
    columns = _columns(name, [key for key, _ in first])
    expected = sorted(columns.values())

    def rows() -> Iterator[tuple[int, list[str]]]:
        for line, pairs in _objects(name, text):
            recognised = sorted(_recognised([key for key, _ in pairs]))
            if recognised != expected:
                raise BadData(
                    f"{name}: line {line}: expected {', '.join(expected)} as in line {first_line}, got "
                    f"{', '.join(recognised)}"
                )
            values = dict(pairs)
            yield line, [_cell(name, line, key, column, values[column]) for key, column in columns.items()]

    return columns, rows()


def _objects(name: str, text: str) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """Yield the objects of JSONL or of a list as pairs, so that repeated names are kept, each with its line."""
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs)
    begin = re.match(r"\s*(\[?)\s*", text)
    at, is_list = (begin.end(), bool(begin[1])) if begin else (0, False)
    expected = "a JSON object" if is_list else "a JSON object a line"
    line, counted = 1, 0
    while at < len(text) and not (is_list and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise BadData(f"{name}: line {line}: expected {expected}, got: {error}") from None
        if not isinstance(value, _Pairs):
            raise BadData(f"{name}: line {line}: expected {expected}, got {short(value)}")
        separator = re.compile(r"\s*,\s*|\s*(?=\])" if is_list else r"[^\S\n]*(\n\s*|$)").match(text, at)
        if separator is None:
            raise BadData(f"{name}: line {line}: expected {expected}, got {short(text[at : at + 20])} after one")
        yield line, value
        at = separator.end()
    if is_list and text[at:].strip() != "]":
        raise BadData(f"{name}: line {line}: expected the end of the list, got {short(text[at : at + 20])}")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, as opposed to a list."""


def _cell(name: str, line: int, key: str, column: str, value: Any) -> str:
    """Return a JSON value as the equivalent CSV cell."""
    if key in TIMES and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if key in ("source", "instruments") and value is None:
        return ""
    if key == "instruments" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ";".join(value)
    if isinstance(value, str):
        return value.strip() if key in TIMES else value
    expected = {"instruments": "a string, a list of strings or null", "text": "a string", "source": "a string or null"}
    raise refused(name, f"line {line}", column, expected.get(key, "a time"), value)


def _columns(name: str, header: Sequence[str]) -> dict[str, str]:
    """Return key of `NAMES` -> name in the header."""
    columns = {}
    for key, names in NAMES.items():
        matches = [cell for cell in header if cell.strip().lower() in names]
        if len(matches) > 1 or (key in REQUIRED and not matches):
            got = " and ".join(matches) if matches else f"only {', '.join(header)}"
            raise BadData(f"{name}: expected one column of {key} ({', '.join(names)}), got {got}")
        if matches:
            columns[key] = matches[0]
    return columns


def _recognised(header: Sequence[str]) -> list[str]:
    known = {name for names in NAMES.values() for name in names}
    return [cell for cell in header if cell.strip().lower() in known]
