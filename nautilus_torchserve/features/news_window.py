"""Which headlines go with a bar: those received before it, young enough, the newest of them.

Training picks them from arrays, an actor as they arrive; both agree exactly, as nothing but whole nanoseconds
are compared. A headline received at the very moment at which a bar is known does not count: which of the two
an engine hands on first is not for a model to know.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


@dataclass(frozen=True)
class NewsWindowConfig:
    """What a model is told of the news; travels in its archive."""

    max_age_ns: int = 4 * 3600 * 10**9
    """Headlines received longer ago than this are not told any more."""
    max_texts: int = 8
    """At most so many are told, the newest."""

    def __post_init__(self) -> None:
        for name in ("max_age_ns", "max_texts"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")


class RecentNews(Generic[Item]):
    """The headlines on one instrument that still count, as they arrive.

    Parameters
    ----------
    config : NewsWindowConfig
    """

    def __init__(self, config: NewsWindowConfig) -> None:
        self.config = config
        self._held: deque[tuple[int, Item]] = deque()

    def add(self, received_ns: int, item: Item) -> None:
        """Remember a headline; not received before any that is remembered already."""
        self._held.append((received_ns, item))

    def drop(self, item: Item) -> None:
        """Forget a headline, as if it had never arrived."""
        self._held = deque(held for held in self._held if held[1] is not item)

    def before(self, now_ns: int) -> list[tuple[int, Item]]:
        """Those to tell at this time, the oldest first, each with when it was received; time only goes on."""
        while self._held and now_ns - self._held[0][0] > self.config.max_age_ns:
            self._held.popleft()
        told = [held for held in self._held if held[0] < now_ns]
        return told[-self.config.max_texts :]


def news_before(
    received_ns: NDArray[np.int64], now_ns: NDArray[np.int64], config: NewsWindowConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The vectorised form: of each time, the first headline to tell and the one after the last.

    Parameters
    ----------
    received_ns : int64 [k]
        When the headlines on one instrument were received, not decreasing.
    now_ns : int64 [n]
        When bars are known.

    Returns
    -------
    tuple of int64 [n]
        Positions in ``received_ns``; equal where there is no news.
    """
    stop = np.searchsorted(received_ns, now_ns, side="left")
    young = np.searchsorted(received_ns, now_ns - config.max_age_ns, side="left")
    return np.maximum(young, stop - config.max_texts).astype(np.int64), stop.astype(np.int64)
