"""Records as Arrow tables and back."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa

from nautilus_torchserve.audit.records import KINDS, Floats, Numbers, Outputs, R, Record, Shape, Texts, Words

_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    bool: pa.bool_(),
    Floats: pa.list_(pa.float32()),
    Numbers: pa.list_(pa.float64()),
    Shape: pa.list_(pa.int64()),
    Texts: pa.list_(pa.string()),
    Outputs: pa.map_(pa.string(), pa.float32()),
    Words: pa.map_(pa.string(), pa.string()),
}
"""A field's type -> its column's."""


SCHEMAS = {
    kind: pa.schema([pa.field(field.name, _TYPES[field.type], nullable=False) for field in fields(kind)])
    for kind in KINDS
}
"""Kind of record -> its schema: one column a field, in their order."""


def as_batch(records: Sequence[Record]) -> pa.RecordBatch:
    """Return records of one kind as a batch, see `SCHEMAS`."""
    schema = SCHEMAS[type(records[0])]
    columns = []
    for column in schema:
        values: list[Any] = [getattr(record, column.name) for record in records]
        if pa.types.is_map(column.type):
            values = [list(value.items()) for value in values]
        columns.append(pa.array(values, column.type))
    return pa.record_batch(columns, schema=schema)


def from_rows(kind: type[R], rows: Iterable[dict[str, Any]]) -> list[R]:
    """Return records from rows of plain types, as Arrow or a database gives them."""
    arrays = [field.name for field in fields(kind) if field.type == Floats]
    tuples = [field.name for field in fields(kind) if field.type in (Numbers, Shape, Texts)]
    maps = [field.name for field in fields(kind) if field.type in (Outputs, Words)]
    records = []
    for row in rows:
        for name in arrays:
            row[name] = np.array(row[name], np.float32)
        for name in tuples:
            row[name] = tuple(row[name])
        for name in maps:
            row[name] = dict(row[name])
        records.append(kind(**row))
    return records
