"""The headlines that go with a bar: the newest of those received before it, up to an age.

Training selects them from arrays, an actor as they arrive; both agree exactly, as only whole nanoseconds are
compared. A headline received at the very time of a bar does not count: which of the two an engine processes first is
undefined.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


@dataclass(frozen=True)
class NewsWindowConfig:
    """The news that a model reads; part of its archive."""

    max_age_ns: int = 4 * 3600 * 10**9
    """Age of a headline above which it does not count (nanoseconds)."""
    max_texts: int = 8
    """Most headlines that count, the newest."""

    def __post_init__(self) -> None:
        for name in ("max_age_ns", "max_texts"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")


class RecentNews(Generic[Item]):
    """The recent headlines on one instrument, as they arrive.

    Parameters
    ----------
    config : NewsWindowConfig
    """

    def __init__(self, config: NewsWindowConfig) -> None:
        self.config = config
        self._entries: deque[tuple[int, Item]] = deque()

    def add(self, received_ns: int, item: Item) -> None:
        """Add a headline, received no earlier than those added before."""
        self._entries.append((received_ns, item))

    def drop(self, item: Item) -> None:
        """Remove a headline, as if it had never arrived."""
        self._entries = deque(entry for entry in self._entries if entry[1] is not item)

    def before(self, now_ns: int) -> list[tuple[int, Item]]:
        """Return the headlines that count at a time, oldest first, each with its time; times must not decrease."""
        while self._entries and now_ns - self._entries[0][0] > self.config.max_age_ns:
            self._entries.popleft()
        received = [entry for entry in self._entries if entry[0] < now_ns]
        return received[-self.config.max_texts :]


def news_before(
    received_ns: NDArray[np.int64], now_ns: NDArray[np.int64], config: NewsWindowConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each time, the first headline that counts and the one after the last; the vectorised form.

    Parameters
    ----------
    received_ns : int64 [k]
        Times at which the headlines on one instrument were received, non-decreasing.
    now_ns : int64 [n]
        Times at which bars are known.

    Returns
    -------
    tuple of int64 [n]
        Positions in ``received_ns``; equal where there is no news.
    """
    stop = np.searchsorted(received_ns, now_ns, side="left")
    young = np.searchsorted(received_ns, now_ns - config.max_age_ns, side="left")
    return np.maximum(young, stop - config.max_texts).astype(np.int64), stop.astype(np.int64)
