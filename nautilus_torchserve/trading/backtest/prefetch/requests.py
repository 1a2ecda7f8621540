"""Asking a model about many events before a run, as an actor would have asked about one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError, ServerFault, is_refusal


@dataclass(frozen=True, eq=False)
class BatchResponse:
    """What a model said to some rows."""

    outputs: NDArray[np.float32]
    """[n, outputs]; of no meaning in rows that got no answer."""
    latency_ns: NDArray[np.int64]
    """Measured wall time of the request that a row was a part of [n]."""
    errors: Mapping[int, RequestError]
    """Row -> why it got no answer."""

    def __len__(self) -> int:
        return len(self.outputs)


def ask_rows(client: InferenceClient, rows: NDArray[np.float32]) -> BatchResponse:
    """Ask about rows in one request; where one of them makes it fail, find it by halves, so that the others get theirs.

    Raises
    ------
    RequestError
        The request failed for another reason, or was answered by another archive than the one connected to.
    """
    try:
        answer = client.predict(rows)
    except PER_ROW_ERRORS as error:
        if len(rows) > 1:
            half = len(rows) // 2
            return _joined(ask_rows(client, rows[:half]), ask_rows(client, rows[half:]))
        nothing = np.full((1, len(client.metadata.outputs)), np.nan, dtype=np.float32)
        return BatchResponse(nothing, np.zeros(1, dtype=np.int64), {0: error})
    digest = client.metadata.archive_digest
    if answer.digest != digest:
        raise ServerFault(f"answers of archive {digest[:12]} for the whole run expected, was {answer.digest[:12]}")
    outputs = np.stack([answer.outputs[name] for name in client.metadata.outputs], axis=1)
    return BatchResponse(outputs, np.full(len(rows), answer.latency_ns, dtype=np.int64), {})


def _joined(first: BatchResponse, second: BatchResponse) -> BatchResponse:
    return BatchResponse(
        np.concatenate([first.outputs, second.outputs]),
        np.concatenate([first.latency_ns, second.latency_ns]),
        {**first.errors, **{len(first) + row: error for row, error in second.errors.items()}},
    )


class Failures:
    """Counts what got no answer, and says when an actor would have stopped asking.

    Parameters
    ----------
    max_failures : int
        Events that may get no answer one after another; then nothing is asked any more. A row that is refused shows
        that the server works.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._in_a_row = 0
        self.failed: dict[int, list[int]] = {}
        """Position of an instrument -> numbers of its events that got no answer."""
        self.refused: dict[int, list[int]] = {}
        """Position of an instrument -> numbers of its events whose rows were refused."""
        self.last_error = ""
        """Why the last one failed."""
        self.last_refusal = ""
        """Why the last one was refused."""
        self.gave_up = False
        """Whether nothing was asked any more."""

    def taken(
        self, told: BatchResponse, subject: NDArray[np.int64], number: NDArray[np.int64], event: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Which rows have an answer that an actor would have asked for.

        Parameters
        ----------
        subject, number : int64 [n]
            What each row is about, as in `trading.backtest.prefetch.prediction_table.PredictionTable`.
        event : int64 [n]
            Rows that were received together share one value; events follow each other.

        Returns
        -------
        int64 [m]
            Positions of rows.
        """
        answered = np.ones(len(told), dtype=bool)
        answered[list(told.errors)] = False
        refused = [row for row, error in told.errors.items() if is_refusal(error)]
        responded = answered.copy()
        responded[refused] = True
        stop = len(told)
        if told.errors:
            begins = np.flatnonzero(np.diff(event, prepend=event[0] - 1))
            for at, any_responded in zip(begins, np.logical_or.reduceat(responded, begins), strict=True):
                self._in_a_row = 0 if any_responded else self._in_a_row + 1
                if self._in_a_row >= self._max_failures:
                    self.gave_up = True
                    stop = int(np.searchsorted(event, event[at], side="right"))
                    break
        elif stop:
            self._in_a_row = 0
        for row in sorted(told.errors):
            if row < stop:
                self._count(int(subject[row]), int(number[row]), told.errors[row])
        return np.flatnonzero(answered[:stop])

    def _count(self, subject: int, number: int, error: RequestError) -> None:
        said = f"{type(error).__name__}: {error}"
        if is_refusal(error):
            self.refused.setdefault(subject, []).append(number)
            self.last_refusal = said
        else:
            self.failed.setdefault(subject, []).append(number)
            self.last_error = said
