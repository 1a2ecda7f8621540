"""Sends copies of answered requests to a shadowed challenger."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.serving.client.client import InferenceClient, Inputs
from nautilus_torchserve.traffic.backlog import Backlog
from nautilus_torchserve.traffic.counts import CallCounts
from nautilus_torchserve.traffic.records import ShadowAnswer
from nautilus_torchserve.wire.errors import RequestError

MOST_COPIES = 256
"""Largest number of copies queued for the challenger."""
CLOSE_WITHIN_S = 5.0
"""Longest time for queued copies at the end, beside that of one request (seconds)."""
_log = logging.getLogger(__name__)


class ShadowRequest(NamedTuple):
    """A copy of a request that was answered."""

    split: str
    version: str
    """The challenger."""
    inputs: Inputs
    subjects: tuple[tuple[str, ...], ...]
    """The instruments that each of the inputs is about."""
    ts_ns: int
    baseline_outputs: Mapping[str, NDArray[np.float32]]
    """Outputs of the response that the caller got."""


class Shadower:
    """Sends copies to the challenger in a thread of its own, and records its answers.

    Copies beyond `MOST_COPIES`, because the challenger is slower than its traffic, are dropped: its slowness must not
    become the caller's.

    Parameters
    ----------
    model : str
    client : callable
        Returns the client of a version.
    counts : CallCounts
        Copies are counted as the challenger's calls.
    backlog : Backlog
        Takes the `ShadowAnswer`.
    """

    def __init__(
        self, model: str, client: Callable[[str], InferenceClient], counts: CallCounts, backlog: Backlog
    ) -> None:
        self._model = model
        self._client = client
        self._counts = counts
        self._backlog = backlog
        self._copies: queue.Queue[ShadowRequest | None] = queue.Queue(MOST_COPIES)
        self._end = math.inf
        self.dropped = 0
        """Copies dropped from the full queue, or at the end."""
        self._thread = threading.Thread(target=self._send_until_closed, daemon=True, name=f"shadow-{self._model}")
        self._thread.start()

    def submit(self, request: ShadowRequest) -> None:
        """Queue a copy, or drop it; never waits."""
        if isinstance(request.inputs, np.ndarray):
            request = request._replace(inputs=request.inputs.copy())  # the caller may overwrite its own
        try:
            self._copies.put_nowait(request)
        except queue.Full:
            self._drop(request)

    def close(self) -> None:
        """Send queued copies for `CLOSE_WITHIN_S`, then end."""
        self._end = time.monotonic() + CLOSE_WITHIN_S
        self._copies.put(None)
        self._thread.join()

    def _send_until_closed(self) -> None:
        while (request := self._copies.get()) is not None:
            if time.monotonic() < self._end:
                self._send(request)
            else:
                self._drop(request)

    def _drop(self, request: ShadowRequest) -> None:
        self.dropped += 1
        if self.dropped == 1 or self.dropped % 1_000 == 0:
            _log.warning(
                "%s %s is slower than its traffic: %d copies of shadow %s dropped so far",
                self._model,
                request.version,
                self.dropped,
                request.split,
            )

    def _send(self, request: ShadowRequest) -> None:
        try:
            response = self._client(request.version).predict(request.inputs)
        except RequestError as error:
            self._counts.record_failure(request.split, request.version)
            reason, latency_ms, outputs = f"{type(error).__name__}: {error}", 0.0, {}
        else:
            self._counts.record_response(request.split, request.version, response.latency_ns, response.outputs)
            reason, latency_ms, outputs = "", response.latency_ns / 1e6, response.outputs
        self._backlog.add(
            ShadowAnswer(
                request.split,
                self._model,
                request.version,
                ",".join(instrument_ids),
                request.ts_ns,
                _row(outputs, row),
                _row(request.baseline_outputs, row),
                latency_ms,
                reason,
            )
            for row, instrument_ids in enumerate(request.subjects)
        )


def _row(outputs: Mapping[str, NDArray[np.float32]], row: int) -> dict[str, float]:
    return {name: values.item(row) for name, values in outputs.items()}
