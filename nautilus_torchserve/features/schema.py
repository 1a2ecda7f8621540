"""The contract between the code that computes features and a model that was trained on them."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property


@dataclass(frozen=True)
class Column:
    """One input column of a model."""

    name: str
    """Name of the column, in snake case."""
    unit: str
    """Its unit: ``bps``, ``1`` for a pure ratio."""


@dataclass(frozen=True)
class FeatureSchema:
    """The columns of one row of a model's input, in order.

    An archive carries the schema it was trained on; a client compares hashes when
    it connects and refuses a model when they differ.

    Raises
    ------
    ValueError
        There are no columns, two of one name, or a length below 1.
    """

    name: str
    """Name and revision of the feature set; a new formula is a new revision."""
    columns: tuple[Column, ...]
    """The last axis of a row, in order."""
    window: int
    """Number of events that one row depends on."""
    time_steps: int | None = None
    """Length of a row's time axis; None where a row is one step."""
    dtype: str = "float32"
    """Type of a value on the wire."""

    def __post_init__(self) -> None:
        if not all(isinstance(column, Column) for column in self.columns):
            raise ValueError(f"{self.name}: expected columns as Column(name, unit), got {self.columns!r:.60}")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or not names:
            raise ValueError(f"{self.name}: expected columns of different names, got {', '.join(names) or 'none'}")
        if self.window < 1 or (self.time_steps is not None and self.time_steps < 1):
            raise ValueError(
                f"{self.name}: expected window and time_steps of at least 1, got {self.window} and {self.time_steps}"
            )

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row: ``(4,)`` or ``(60, 5)``."""
        width = (len(self.columns),)
        return width if self.time_steps is None else (self.time_steps, *width)

    @cached_property
    def sha256(self) -> str:
        """Hash over everything that changes the meaning of a row; stable between runs."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON types, for ``model.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> "FeatureSchema":
        """Return the schema that `to_dict` wrote.

        Raises
        ------
        ValueError
            ``data`` is not what `to_dict` writes.
        """
        if not isinstance(data, dict):
            raise ValueError(f"expected a feature schema as an object, got {type(data).__name__}")
        expected = {field.name: field.default is MISSING for field in fields(cls)}
        wrong = [name for name, required in expected.items() if required and name not in data]
        if wrong or not data.keys() <= expected.keys():
            raise ValueError(f"expected a feature schema with {', '.join(expected)}, got {', '.join(map(str, data))}")
        columns = data["columns"]
        if not isinstance(columns, list | tuple) or not columns:
            raise ValueError(f"expected the feature schema's columns as a list, got {columns!r:.40}")
        for column in columns:
            if not isinstance(column, dict) or column.keys() != {"name", "unit"} or not _are_texts(column.values()):
                raise ValueError(f"expected a feature schema's column with name and unit, got {column!r:.40}")
        if not _are_texts((data["name"], data.get("dtype", ""))):
            raise ValueError(f"expected the feature schema's name and dtype as texts, got {data['name']!r:.40}")
        for name in ("window", "time_steps"):
            value = data.get(name)
            if not (type(value) is int and value > 0) and (value is not None or name == "window"):
                raise ValueError(f"expected the feature schema's {name} as a positive integer, got {value!r:.40}")
        return cls(**{**data, "columns": tuple(Column(**column) for column in columns)})


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)
