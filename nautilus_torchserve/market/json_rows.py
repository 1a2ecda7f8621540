"""Rows of JSON files as text: a list of rows as ccxt and Binance's API return it, or a row a line (JSONL)."""

import json
from functools import partial
from typing import Any

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.csv_dialect import short


def read_json_rows(name: str, content: bytes) -> tuple[list[str] | None, list[list[str]]]:
    """Return the names of the columns, None where rows are lists, and the rows, every number as the text that it is.

    Parameters
    ----------
    name : str
        Name of the file, for messages.

    Raises
    ------
    BadData
        It is no such JSON, or a row differs from the first one in its names or its length.
    """
    rows = _values(name, content)
    if not rows:
        return None, []
    columns = _columns(rows[0])
    for number, row in enumerate(rows, 1):
        if columns is None or _columns(row) != columns:
            of_first = f"{columns} values" if isinstance(columns, int) else f"an object of {columns}"
            expected = "a list or an object" if columns is None else f"{of_first} as in row 1"
            raise BadData(f"{name}: row {number}: expected {expected}, got {short(row)}")
    if isinstance(columns, int):
        return None, [list(map(_cell, row)) for row in rows]
    if len(rows) == 1 and any(isinstance(value, dict | list) for value in rows[0].values()):
        raise BadData(f"{name}: expected a list of rows, got an object of {columns}; save its list of rows alone")
    header = [*rows[0]]
    return header, [[_cell(row[column]) for column in header] for row in rows]


def _values(name: str, content: bytes) -> list[Any]:
    loads = partial(
        json.loads, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=partial(_object, name)
    )
    try:
        text = content.decode("utf-8-sig")
        try:
            value = loads(text)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            return [loads(line) for line in text.split("\n") if line.strip()]
    except BadData:
        raise
    except (ValueError, RecursionError) as error:
        raise BadData(f"{name}: expected JSON, a list of rows or a row a line, got unreadable data: {error}") from None
    return value if isinstance(value, list) else [value]


def _object(name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise BadData(f"{name}: expected every name of an object once, got {short([key for key, _ in pairs])}")
    return value


def _columns(row: object) -> list[str] | int | None:
    """Return the names of a row's values in order, else their number; None for what is no row."""
    if isinstance(row, dict):
        return sorted(row)
    return len(row) if isinstance(row, list) else None


def _cell(value: object) -> str:
    return "" if value is None else str(value)
