"""The contract of a feature set of your own, and the inputs of a model that its rows make up."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import FeatureSchema


class StreamingFeatures(Protocol):
    """Computes rows of features from one datum after the other: in training, in backtests and live.

    There is one object for each predicted instrument. It is constructed with a list of NautilusTrader's
    `InstrumentId`: first the predicted one, then those that its `FeatureSet.data` name.

    A row may depend on the data that it was given so far, and on nothing else: not on a file, on the clock, or on
    another object's state. `nautilus-torchserve leak` checks that.
    """

    def update(self, data: Any) -> Sequence[float] | NDArray | None:
        """Add a datum; return the row [columns] that is to be predicted for now, or None where there is none.

        Parameters
        ----------
        data : TradeTick, QuoteTick, OrderBookDepth10, Bar, or custom data
            One of the kinds in `FeatureSet.data`, in the order of receipt.

        Returns
        -------
        sequence of float or None
            In the order of the schema's columns; one time step, where its rows have several.
        """


_NUMBERS = "biufO"
"""Kinds of NumPy's types that are numbers, or objects that may be, such as decimals."""


class BadRow(ValueError):
    """A streaming class returned a row that its schema does not describe."""


class InputWindows:
    """Makes a model's inputs of one instrument's rows: the last ``time_steps`` of them, or each by itself.

    Parameters
    ----------
    schema : FeatureSchema
    warm_up : int
        Rows at the beginning that are no part of an input, see `FeatureSet.warm_up`.
    """

    def __init__(self, schema: FeatureSchema, warm_up: int) -> None:
        self.rows = 0
        """Rows so far."""
        self.names = [column.name for column in schema.columns]
        """Names of the columns."""
        self._warm_up = warm_up
        self._time_steps = schema.time_steps
        # Each row stands twice, ``time_steps`` apart, so that any window is one slice.
        self._steps = np.empty((2 * (schema.time_steps or 0), len(self.names)), dtype=np.float32)

    def add(self, values: Sequence[float] | NDArray) -> NDArray[np.float32] | None:
        """Add a row [columns].

        Returns
        -------
        float32 [columns] or [time_steps, columns], or None
            The input that ends with this row; None while the window fills.

        Raises
        ------
        BadRow
            It has another number of columns, or a value that is not finite, or is no sequence of numbers.
        """
        try:
            array = np.asarray(values)
            row = array.astype(np.float32) if array.dtype.kind in _NUMBERS else None
        except Exception:  # whatever the conversion of an object of another library raises
            row = None
        if row is None:
            raise BadRow(
                f"row {self.rows}: expected {len(self.names)} numbers ({', '.join(self.names)}), got {values!r:.60}"
            )
        if row.shape != (len(self.names),):
            raise BadRow(
                f"row {self.rows}: expected {len(self.names)} values ({', '.join(self.names)}), "
                f"got an array of shape {list(row.shape)}"
            )
        if not np.isfinite(row).all():
            column = int(np.argmin(np.isfinite(row)))
            raise BadRow(f"row {self.rows}: expected finite values, got {row[column]} in {self.names[column]}")
        number = self.rows - self._warm_up
        self.rows += 1
        steps = self._time_steps
        if number < 0:
            return None
        if steps is None:
            return row
        at = number % steps
        self._steps[at] = self._steps[at + steps] = row
        return None if number + 1 < steps else self._steps[at + 1 : at + 1 + steps].copy()
