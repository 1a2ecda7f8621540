"""Bulk requests before a run, with the same outcome as an actor's requests per event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.trading.news.sentiment_actor import PER_TEXT_ERRORS
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError, ServerFault, is_refusal
from nautilus_torchserve.wire.news_windows import NewsWindow


@dataclass(frozen=True, eq=False)
class BatchResponse:
    """Response to a batch of rows, row by row."""

    outputs: NDArray[np.float32]
    """[n, outputs]; undefined in rows that got no prediction."""
    latency_ns: NDArray[np.int64]
    """Measured wall time of the request that a row was a part of [n]."""
    errors: Mapping[int, RequestError]
    """Row -> why it got no prediction."""

    def __len__(self) -> int:
        return len(self.outputs)


def predict_rows(client: InferenceClient, rows: NDArray[np.float32] | Sequence[NewsWindow]) -> BatchResponse:
    """Request predictions of rows; where one row makes the request fail, find it by bisection and predict the others.

    Raises
    ------
    RequestError
        The request failed for another reason, or another archive responded than the one connected to.
    """
    try:
        prediction = client.predict(rows)
    except (*PER_ROW_ERRORS, *PER_TEXT_ERRORS) as error:
        if len(rows) > 1:
            half = len(rows) // 2
            return _joined(predict_rows(client, rows[:half]), predict_rows(client, rows[half:]))
        nothing = np.full((1, len(client.metadata.outputs)), np.nan, dtype=np.float32)
        return BatchResponse(nothing, np.zeros(1, dtype=np.int64), {0: error})
    digest = client.metadata.archive_digest
    if prediction.digest != digest:
        raise ServerFault(
            f"expected predictions of archive {digest[:12]} for the whole run, got {prediction.digest[:12]}"
        )
    outputs = np.stack([prediction.outputs[name] for name in client.metadata.outputs], axis=1)
    return BatchResponse(outputs, np.full(len(rows), prediction.latency_ns, dtype=np.int64), {})


def _joined(first: BatchResponse, second: BatchResponse) -> BatchResponse:
    return BatchResponse(
        np.concatenate([first.outputs, second.outputs]),
        np.concatenate([first.latency_ns, second.latency_ns]),
        {**first.errors, **{len(first) + row: error for row, error in second.errors.items()}},
    )


class Failures:
    """Counts events without a prediction, and decides when an actor would have stopped its requests.

    Parameters
    ----------
    max_failures : int
        Events in a row that may get no response; then requests end. A row that is refused shows that the server
        works.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._in_a_row = 0
        self.failed: dict[int, list[int]] = {}
        """Position of an instrument -> numbers of its events that got no response."""
        self.refused: dict[int, list[int]] = {}
        """Position of an instrument -> numbers of its events whose rows were refused."""
        self.last_error = ""
        """Error of the last failed request."""
        self.last_refusal = ""
        """Error of the last refused row."""
        self.gave_up = False
        """Whether requests ended."""

    def accepted(
        self, response: BatchResponse, subject: NDArray[np.int64], number: NDArray[np.int64], event: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the rows with a prediction that an actor would have requested.

        Parameters
        ----------
        subject, number : int64 [n]
            Instrument and event of each row, as in `trading.backtest.prefetch.prediction_table.PredictionTable`.
        event : int64 [n]
            Rows that were received together share one value; events follow each other.

        Returns
        -------
        int64 [m]
            Positions of rows.
        """
        predicted = np.ones(len(response), dtype=bool)
        predicted[list(response.errors)] = False
        refused = [row for row, error in response.errors.items() if is_refusal(error)]
        responded = predicted.copy()
        responded[refused] = True
        stop = len(response)
        if response.errors:
            begins = np.flatnonzero(np.diff(event, prepend=event[0] - 1))
            for at, any_responded in zip(begins, np.logical_or.reduceat(responded, begins), strict=True):
                self._in_a_row = 0 if any_responded else self._in_a_row + 1
                if self._in_a_row >= self._max_failures:
                    self.gave_up = True
                    stop = int(np.searchsorted(event, event[at], side="right"))
                    break
        elif stop:
            self._in_a_row = 0
        for row in sorted(response.errors):
            if row < stop:
                self._count(int(subject[row]), int(number[row]), response.errors[row])
        return np.flatnonzero(predicted[:stop])

    def _count(self, subject: int, number: int, error: RequestError) -> None:
        message = f"{type(error).__name__}: {error}"
        if is_refusal(error):
            self.refused.setdefault(subject, []).append(number)
            self.last_refusal = message
        else:
            self.failed.setdefault(subject, []).append(number)
            self.last_error = message
