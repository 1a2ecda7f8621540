"""Filling the features of a live run from history, without a gap and without counting anything twice."""

from collections.abc import Callable, Hashable, Iterator
from operator import attrgetter
from typing import Generic, TypeVar

from nautilus_trader.core.data import Data

E = TypeVar("E", bound=Data)


class WarmStart(Generic[E]):
    """Holds the stream back until history has arrived, and merges both in order.

    The stream is subscribed to before history is requested, so that nothing falls between them; events of both count
    once.

    Parameters
    ----------
    key : callable
        Identifies an event: a trade's identifier, a bar's close.
    """

    def __init__(self, key: Callable[[E], Hashable]) -> None:
        self._key = key
        self._history: list[E] = []
        self._stream: list[E] = []
        self.is_over = False
        """Whether the stream flows."""

    def add_history(self, event: E) -> None:
        """Add an event of history, in order of its instrument's; after the end it is too late, and ignored."""
        if not self.is_over:
            self._history.append(event)

    def hold(self, event: E) -> None:
        """Hold an event of the stream until the end."""
        self._stream.append(event)

    def end(self) -> Iterator[E]:
        """Yield all events so far, in order of their receipt; from now on the stream flows."""
        self.is_over = True
        streamed = {self._key(event) for event in self._stream}
        history = sorted(
            self._history, key=attrgetter("ts_init")
        )  # stable: of several instruments, one after the other
        yield from (event for event in history if self._key(event) not in streamed)
        yield from self._stream
        self._history, self._stream = [], []
