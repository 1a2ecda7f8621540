import json
from dataclasses import fields, replace
from typing import Any

import pytest

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.features.tick import tick_schema

SCHEMA = FeatureSchema(name="bars/1", columns=(Column("open", "1"), Column("close", "1")), window=60, time_steps=60)
CHANGES: dict[str, Any] = {
    "name": "bars/2",
    "columns": (Column("close", "1"), Column("open", "1")),
    "window": 61,
    "time_steps": 30,
    "dtype": "float64",
}


def test_the_hash_is_the_same_in_every_release() -> None:
    assert tick_schema().sha256 == "ae19a6702c8fb7303aa07a43b4aa5c10e7ae2f47816d1eb55d204d63647e0a62"


@pytest.mark.parametrize("field", [field.name for field in fields(FeatureSchema)])
def test_the_hash_changes_with_every_field(field: str) -> None:
    assert replace(SCHEMA, **{field: CHANGES[field]}).sha256 != SCHEMA.sha256


@pytest.mark.parametrize("column", [Column("opening", "1"), Column("open", "bps")])
def test_the_hash_changes_with_a_columns_name_and_unit(column: Column) -> None:
    assert replace(SCHEMA, columns=(column, SCHEMA.columns[1])).sha256 != SCHEMA.sha256


@pytest.mark.parametrize("schema", [SCHEMA, tick_schema()])
def test_a_schema_survives_json(schema: FeatureSchema) -> None:
    again = FeatureSchema.from_dict(json.loads(json.dumps(schema.to_dict())))

    assert again == schema
    assert again.sha256 == schema.sha256


def test_row_shape_has_a_time_axis_only_where_there_are_steps() -> None:
    assert SCHEMA.row_shape == (60, 2)
    assert replace(SCHEMA, time_steps=None).row_shape == (2,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ("open", "close")}, r"bars/1: expected columns as Column.name, unit., got \('open', 'close'\)"),
        ({"columns": ()}, "bars/1: expected columns of different names, got none"),
        ({"columns": (Column("open", "1"), Column("open", "bps"))}, "different names, got open, open"),
        ({"window": 0}, "expected window and time_steps of at least 1, got 0 and 60"),
        ({"time_steps": 0}, "expected window and time_steps of at least 1, got 60 and 0"),
    ],
)
def test_a_schema_that_describes_no_row_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SCHEMA, **changes)
