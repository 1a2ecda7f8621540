"""Predictions as they took effect, as columns: a long run has millions of them."""

from array import array
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.trading.prediction import Prediction

_WHOLE = ("ts_event", "ts_init", "latency_ns", "number")


class PredictionLog:
    """Keeps predictions about one instrument in order of arrival, in some 50 bytes each.

    Parameters
    ----------
    outputs : sequence of str
        Which outputs to keep.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        self._names = tuple(outputs)
        self._whole = array("q")
        self._outputs = array("f")

    def add(self, prediction: Prediction) -> None:
        """Keep one more."""
        self._whole.extend((prediction.ts_event, prediction.ts_init, prediction.latency_ns, prediction.number))
        self._outputs.extend(map(prediction.outputs.__getitem__, self._names))

    def numbers(self) -> NDArray[np.int64]:
        """`Prediction.number` of each."""
        return self._columns()[:, 3].copy()

    def table(self) -> pd.DataFrame:
        """``ts_event``, ``ts_init``, ``latency_ns`` and a float32 column for each output."""
        whole = self._columns()
        columns: dict[str, NDArray] = {name: whole[:, at].copy() for at, name in enumerate(_WHOLE[:3])}
        outputs = np.frombuffer(self._outputs, dtype=np.float32).reshape(-1, len(self._names))
        columns.update({name: outputs[:, at].copy() for at, name in enumerate(self._names)})
        return pd.DataFrame(columns)

    def _columns(self) -> NDArray[np.int64]:
        return np.frombuffer(self._whole, dtype=np.int64).reshape(-1, len(_WHOLE))
