"""What is to be published later, by the time when."""

import heapq
import itertools
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something with the time at which it takes effect."""

    ts_init: int


T = TypeVar("T", bound=Timed)


class DelayQueue(Generic[T]):
    """A queue by ``ts_init``; what takes effect at one time leaves in the order in which it came."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._numbers = itertools.count()

    def add(self, said: T) -> None:
        """Keep it until its ``ts_init``."""
        heapq.heappush(self._heap, (said.ts_init, next(self._numbers), said))

    def until(self, ts_ns: int) -> Iterator[T]:
        """Take out what is due at this time, Unix ns."""
        while self._heap and self._heap[0][0] <= ts_ns:
            yield heapq.heappop(self._heap)[2]

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[T]:
        """What is left, in no order."""
        return (said for _, _, said in self._heap)
