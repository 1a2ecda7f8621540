"""Filling the features of a live run from history, without a gap and without anything counted twice."""

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

E = TypeVar("E")


class WarmStart(Generic[E]):
    """Holds the stream back until history is there, and puts both in one order.

    The stream is subscribed to before history is asked for, so that nothing falls between them; what both have is
    taken once.

    Parameters
    ----------
    key : callable
        What tells an event from all others: a trade's identifier, a bar's close.
    """

    def __init__(self, key: Callable[[E], Hashable]) -> None:
        self._key = key
        self._history: list[E] = []
        self._held: list[E] = []
        self.over = False
        """Whether the stream flows."""

    def past(self, event: E) -> None:
        """An event of history, in order; after the end it comes too late and is left out."""
        if not self.over:
            self._history.append(event)

    def hold(self, event: E) -> None:
        """An event of the stream before the end."""
        self._held.append(event)

    def end(self) -> Iterator[E]:
        """All events so far, in order; from now on the stream flows."""
        self.over = True
        held = {self._key(event) for event in self._held}
        yield from (event for event in self._history if self._key(event) not in held)
        yield from self._held
        self._history, self._held = [], []
