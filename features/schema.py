"""The contract between whoever computes features and whoever was trained on them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property


@dataclass(frozen=True)
class Column:
    """One input column of a model."""

    name: str
    """What the column is called, in snake case."""
    unit: str
    """Its unit: ``bps``, ``1`` for a pure ratio."""


@dataclass(frozen=True)
class FeatureSchema:
    """What one row of a model's input holds, and in which order.

    An archive carries the schema it was trained on; a client compares hashes when
    it connects and refuses to trade when they differ.
    """

    name: str
    """Name and revision of the feature set; a new formula is a new revision."""
    columns: tuple[Column, ...]
    """The last axis of a row, in order."""
    window: int
    """Events that one row looks back on."""
    time_steps: int | None = None
    """Length of a row's time axis; None where a row is one step."""
    dtype: str = "float32"
    """Type of a value on the wire."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row: ``(4,)`` or ``(60, 5)``."""
        width = (len(self.columns),)
        return width if self.time_steps is None else (self.time_steps, *width)

    @cached_property
    def sha256(self) -> str:
        """Hash over everything that changes a row's meaning; stable between runs."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types, for ``model.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "FeatureSchema":
        """Inverse of :meth:`to_dict`."""
        columns = tuple(Column(**column) for column in data["columns"])
        return cls(**{**data, "columns": columns})
