"""Arrival times of the responses to a run's requests: after a constant delay, or through a queue of workers."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Delay(Protocol):
    """Maps the arrivals of one run's requests, in order, to the times at which their responses are due.

    The two methods agree and share their state: a stream may be passed one request at a time, or in chunks of any
    size, with the same result.
    """

    def due(self, arrival_ns: int) -> int:
        """Return when the response to a request is due, Unix ns; requests never arrive before their predecessor."""

    def due_many(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `due` of requests [n] in order."""


class ConstantDelay:
    """The same delay for every response, whatever the load.

    Parameters
    ----------
    latency_ns : int
        Nanoseconds, 0 or more. With 0 a response is due at its own event's time, after all data of that time.
    """

    def __init__(self, latency_ns: int) -> None:
        self._latency_ns = latency_ns

    def due(self, arrival_ns: int) -> int:
        return arrival_ns + self._latency_ns

    def due_many(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        return arrival_ns + self._latency_ns
