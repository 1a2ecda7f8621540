"""When the answers to a run's requests are there: after a constant time, or through a queue in front of workers."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Delay(Protocol):
    """One run's requests in, in the order of their arrival; when each answer is there out.

    The two methods agree and share their state: a stream may be asked one request at a time, or in chunks of any
    size, and comes out the same.
    """

    def due(self, arrival_ns: int) -> int:
        """When the answer to a request is there, Unix ns; requests never arrive before their predecessor."""

    def due_many(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """`due` of requests [n] in order."""


class ConstantDelay:
    """Every answer takes the same time, whatever else is asked.

    Parameters
    ----------
    latency_ns : int
        Nanoseconds, 0 or more. With 0 an answer is there at its own event's time, after all data of that time.
    """

    def __init__(self, latency_ns: int) -> None:
        self._latency_ns = latency_ns

    def due(self, arrival_ns: int) -> int:
        return arrival_ns + self._latency_ns

    def due_many(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        return arrival_ns + self._latency_ns
