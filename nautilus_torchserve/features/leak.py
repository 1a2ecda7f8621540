"""Comparison of rows of features that ought to be equal bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Leak:
    """The first value of a feature that is not what it would be without knowledge of the future, or of the past."""

    check: str
    """What was compared: ``future``, ``start``, ``vectorised``, ``repeat``, ``process`` or ``outside``."""
    reason: str
    """What the difference means, in a sentence."""
    row: int | None
    """Number of the row among all, from 0; None for a read outside of the data."""
    ts_ns: int | None
    """Time of the datum that the row came with, Unix ns; None where the vectorised form alone is known."""
    column: str
    """Name of the column; empty where the number of rows differs."""
    expected: float | None
    """Value with all data."""
    got: float | None
    """Value in the comparison."""

    @property
    def sentence(self) -> str:
        """The finding in one sentence."""
        if self.row is None:
            return self.reason
        when = "" if self.ts_ns is None else f" ({np.datetime64(self.ts_ns, 'ns')} UTC)"
        if not self.column:
            return f"{self.reason}: row {self.row}{when} is there in one of them only"
        return f"{self.reason}: row {self.row}{when}, {self.column}: {self.expected!r} and {self.got!r}"


def first_difference(
    expected: NDArray[np.float32], got: NDArray[np.float32], columns: Sequence[str]
) -> tuple[int, str, float | None, float | None] | None:
    """Return the first row, column and the two values [n, columns] that differ in a bit; None where all are equal.

    A column of "" stands for a row that only one of them has.
    """
    shared = min(len(expected), len(got))
    differs = expected[:shared].view(np.uint32) != got[:shared].view(np.uint32)
    if differs.any():
        row, column = (int(place) for place in np.argwhere(differs)[0])
        return row, columns[column], float(expected[row, column]), float(got[row, column])
    if len(expected) != len(got):
        return shared, "", None, None
    return None
