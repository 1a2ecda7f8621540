"""What a model declares about its outputs, and the check of an answer against it.

A model declares constraints; its metadata carry them as ``output_constraints``::

    {"ranges": {"buy": {"minimum": 0.0, "maximum": 1.0}, ...}, "sum_to_one": [["buy", "sell", "hold"]]}

The client checks each answer against them, a strategy each prediction against its own. Outputs without a declaration
must be finite.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.wire.body import excerpt
from nautilus_torchserve.wire.errors import OutputNotFinite, OutputOutOfRange

SLACK = 1e-6
"""Overshoot allowed beyond a declared bound, relative to the bound, absolute below 1: rounding of float32 sums."""
_LARGEST = float(np.finfo(np.float32).max)
_KEYS = ("minimum", "exclusive_minimum", "maximum")


@dataclass(frozen=True)
class OutputRange:
    """The values that one output can take; without bounds: any finite float32."""

    minimum: float | None = None
    """Smallest value."""
    exclusive_minimum: float | None = None
    """The value that every one is above."""
    maximum: float | None = None
    """Largest value."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest accepted float, `SLACK` included."""
        low, high = -_LARGEST, _LARGEST
        if self.minimum is not None:
            low = self.minimum - SLACK * max(1.0, abs(self.minimum))
        if self.exclusive_minimum is not None:
            low = max(low, math.nextafter(self.exclusive_minimum, math.inf))
        if self.maximum is not None:
            high = self.maximum + SLACK * max(1.0, abs(self.maximum))
        return low, high

    def __str__(self) -> str:
        opening = "[" if self.exclusive_minimum is None else "("
        low = self.minimum if self.exclusive_minimum is None else self.exclusive_minimum
        left = "(-inf" if low is None else f"{opening}{low:g}"
        return f"{left}, inf)" if self.maximum is None else f"{left}, {self.maximum:g}]"


PROBABILITY = OutputRange(minimum=0.0, maximum=1.0)
NON_NEGATIVE = OutputRange(minimum=0.0)
POSITIVE = OutputRange(exclusive_minimum=0.0)
SCORE = OutputRange(minimum=-1.0, maximum=1.0)
RETURN_BPS = OutputRange(minimum=-1e4)
"""A simple return: no price falls by more than all of it."""


def sum_tolerance(outputs: int) -> float:
    """Return the accepted distance from 1 of a sum of probabilities: far beyond the rounding of any float32 softmax."""
    return 1e-4 + outputs * 2.0**-22


@dataclass(frozen=True)
class OutputConstraints:
    """Ranges of outputs, and groups of probabilities that sum to 1."""

    ranges: Mapping[str, OutputRange] = field(default_factory=dict)
    """Output -> its range."""
    sum_to_one: tuple[tuple[str, ...], ...] = ()
    """Groups of outputs."""

    @cached_property
    def _bounds(self) -> tuple[tuple[str, float, float], ...]:
        return tuple((name, *bounded.bounds) for name, bounded in self.ranges.items())

    @property
    def names(self) -> set[str]:
        """Outputs with a declaration."""
        return {*self.ranges, *(name for group in self.sum_to_one for name in group)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, for a model's metadata."""
        ranges = {
            name: {key: getattr(bounded, key) for key in _KEYS if getattr(bounded, key) is not None}
            for name, bounded in self.ranges.items()
        }
        return {"ranges": ranges, "sum_to_one": [list(group) for group in self.sum_to_one]}

    @classmethod
    def from_dict(cls, data: object, outputs: Sequence[str]) -> "OutputConstraints":
        """Read what `to_dict` returned, for a model of these outputs.

        Raises
        ------
        ValueError
            ``data`` is not what `to_dict` writes, or names another output.
        """
        if not isinstance(data, dict) or not data.keys() <= {"ranges", "sum_to_one"}:
            raise ValueError(f"expected output_constraints with ranges and sum_to_one, got {data!r:.40}")
        ranges, groups = data.get("ranges", {}), data.get("sum_to_one", [])
        if not isinstance(ranges, dict):
            raise ValueError(f"expected output_constraints.ranges as an object, got {ranges!r:.40}")
        if not isinstance(groups, list) or not all(isinstance(group, list) and group for group in groups):
            raise ValueError(f"expected output_constraints.sum_to_one as a list of lists of names, got {groups!r:.40}")
        for name in (*ranges, *(name for group in groups for name in group)):
            if name not in outputs:
                raise ValueError(f"expected output_constraints of {', '.join(outputs):.80}, got {name!r:.40}")
        for group in groups:
            if len(set(group)) != len(group):
                raise ValueError(f"expected different names in output_constraints.sum_to_one, got {group!r:.40}")
        return cls({name: _range(name, bounds) for name, bounds in ranges.items()}, tuple(map(tuple, groups)))

    def check_row(self, outputs: Mapping[str, float]) -> None:
        """Check one row of outputs, all of which must be finite numbers.

        Raises
        ------
        OutputNotFinite
            An output is no finite number.
        OutputOutOfRange
            An output is missing, outside of its range, or a group does not sum to 1.
        """
        if not isinstance(outputs, Mapping):
            raise OutputOutOfRange(f"expected outputs by their names, got {type(outputs).__name__}")
        for name, value in outputs.items():
            if not _is_finite(value):
                raise OutputNotFinite(f"expected finite outputs, got {excerpt(value)} as {excerpt(name)}")
        try:
            for name, low, high in self._bounds:
                if not low <= outputs[name] <= high:
                    raise OutputOutOfRange(f"expected {name} in {self.ranges[name]}, got {outputs[name]:g}")
            for group in self.sum_to_one:
                total = 0.0
                for name in group:
                    total += outputs[name]
                if abs(total - 1.0) > sum_tolerance(len(group)):
                    raise OutputOutOfRange(f"expected a sum of 1 of {', '.join(group):.80}, got {total:g}")
        except KeyError as missing:
            got = ", ".join(map(str, outputs)) or "none"
            raise OutputOutOfRange(f"expected an output {missing.args[0]}, got {got:.80}") from None

    def check_table(self, table: NDArray[np.float32], names: Sequence[str]) -> None:
        """Check float32 [n, outputs], whose columns have these names.

        Raises
        ------
        OutputNotFinite, OutputOutOfRange
            Of the first row concerned.
        """
        if len(table) == 1:  # the hot path: ten times as fast as with NumPy
            self.check_row(dict(zip(names, table[0].tolist(), strict=True)))
            return
        if not self._passes(table.astype(np.float64), list(names)):
            for number, row in enumerate(table.tolist()):
                try:
                    self.check_row(dict(zip(names, row, strict=True)))
                except (OutputNotFinite, OutputOutOfRange) as error:
                    raise type(error)(f"row {number}: {error}") from None

    def _passes(self, table: NDArray[np.float64], names: list[str]) -> bool:
        """Return whether all rows pass; False may be due to rounding: `check_row` decides."""
        if not np.isfinite(table).all():
            return False
        for name, low, high in self._bounds:
            column = table[:, names.index(name)]
            if column.min() < low or column.max() > high:
                return False
        for group in self.sum_to_one:
            total = table[:, [names.index(name) for name in group]].sum(axis=1)
            if np.abs(total - 1.0).max() > sum_tolerance(len(group)):
                return False
        return True


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):  # a text, a signalling NaN of `decimal`, an integer beyond float64
        return False


def _range(name: str, data: object) -> OutputRange:
    if not isinstance(data, dict) or not data.keys() <= set(_KEYS):
        raise ValueError(f"expected output_constraints.ranges.{name:.40} with {', '.join(_KEYS)}, got {data!r:.40}")
    for key, value in data.items():
        if type(value) not in (int, float) or not _is_finite(value):
            got = excerpt(value)
            raise ValueError(f"expected output_constraints.ranges.{name:.40}.{key} as a finite number, got {got}")
    output_range = OutputRange(**{key: float(value) for key, value in data.items()})
    if output_range.bounds[0] > output_range.bounds[1]:
        raise ValueError(f"expected output_constraints.ranges.{name:.40} that holds a number, got {output_range}")
    return output_range
