"""Asks a shadowed challenger what others have been answered already."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.traffic.backlog import Backlog
from nautilus_torchserve.traffic.counts import CallCounts
from nautilus_torchserve.traffic.records import ShadowAnswer
from nautilus_torchserve.wire.errors import RequestError

MOST_COPIES = 256
"""Requests that may wait for the challenger."""
CLOSE_WITHIN_S = 5.0
"""Longest time for those that wait at the end, seconds, and that of one request."""
_log = logging.getLogger(__name__)


class Copy(NamedTuple):
    """A request that was answered."""

    split: str
    version: str
    """The challenger."""
    inputs: Inputs
    about: tuple[tuple[str, ...], ...]
    """The instruments that each of the inputs is about."""
    ts_ns: int
    answered: Mapping[str, NDArray[np.float32]]
    """What the caller got."""


class Shadower:
    """Sends copies to the challenger in a thread of its own, and keeps what it says.

    Copies that find no room, because the challenger is slower than the calls are many, are dropped: its slowness
    must not become that of the caller.

    Parameters
    ----------
    model : str
    client : callable
        The client of a version.
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
        self._copies: queue.Queue[Copy | None] = queue.Queue(MOST_COPIES)
        self._end = math.inf
        self.dropped = 0
        """Copies that found no room, or no time before the end."""
        self._thread = threading.Thread(target=self._ask_until_closed, daemon=True, name=f"shadow-{self._model}")
        self._thread.start()

    def take(self, copy: Copy) -> None:
        """Take a copy, or drop it; never waits."""
        if isinstance(copy.inputs, np.ndarray):
            copy = copy._replace(inputs=copy.inputs.copy())  # the caller may write over its own
        try:
            self._copies.put_nowait(copy)
        except queue.Full:
            self._drop(copy)

    def close(self) -> None:
        """Ask about what is waiting for a while, then end."""
        self._end = time.monotonic() + CLOSE_WITHIN_S
        self._copies.put(None)
        self._thread.join()

    def _ask_until_closed(self) -> None:
        while (copy := self._copies.get()) is not None:
            if time.monotonic() < self._end:
                self._ask(copy)
            else:
                self._drop(copy)

    def _drop(self, copy: Copy) -> None:
        self.dropped += 1
        if self.dropped == 1 or self.dropped % 1_000 == 0:
            _log.warning(
                "%s %s is slower than its traffic: %d copies of shadow %s dropped so far",
                self._model,
                copy.version,
                self.dropped,
                copy.split,
            )

    def _ask(self, copy: Copy) -> None:
        try:
            answer = self._client(copy.version).predict(copy.inputs)
        except RequestError as error:
            self._counts.failed(copy.split, copy.version)
            why, latency_ms, outputs = f"{type(error).__name__}: {error}", 0.0, {}
        else:
            self._counts.answered(copy.split, copy.version, answer.latency_ns, answer.outputs)
            why, latency_ms, outputs = "", answer.latency_ns / 1e6, answer.outputs
        self._backlog.add(
            ShadowAnswer(
                copy.split,
                self._model,
                copy.version,
                ",".join(instrument_ids),
                copy.ts_ns,
                _row(outputs, row),
                _row(copy.answered, row),
                latency_ms,
                why,
            )
            for row, instrument_ids in enumerate(copy.about)
        )


def _row(outputs: Mapping[str, NDArray[np.float32]], row: int) -> dict[str, float]:
    return {name: values.item(row) for name, values in outputs.items()}
