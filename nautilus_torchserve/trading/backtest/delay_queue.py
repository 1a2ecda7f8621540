"""Data to be published later, by the time at which they take effect."""

import heapq
import itertools
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from nautilus_trader.model.identifiers import InstrumentId


class AboutInstrument(Protocol):
    """Data about an instrument, with the time at which they take effect."""

    instrument_id: InstrumentId
    ts_init: int


T = TypeVar("T", bound=AboutInstrument)


class DelayQueue(Generic[T]):
    """A queue ordered by ``ts_init``, first in, first out at one time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._numbers = itertools.count()

    def add(self, data: T) -> None:
        """Queue data until their ``ts_init``."""
        heapq.heappush(self._heap, (data.ts_init, next(self._numbers), data))

    def until(self, ts_ns: int) -> Iterator[T]:
        """Remove and yield the data that are due at a time, Unix ns."""
        while self._heap and self._heap[0][0] <= ts_ns:
            yield heapq.heappop(self._heap)[2]

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the queued data, in no order."""
        return (data for _, _, data in self._heap)
