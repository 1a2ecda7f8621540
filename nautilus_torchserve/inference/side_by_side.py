"""Two computations of one request: at once, or one after the other, whichever is quicker on this machine."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

One = TypeVar("One")
Other = TypeVar("Other")
_TRIALS = 7


class SideBySide:
    """Runs two functions, the first on a thread of its own where a trial showed that to be quicker.

    torch releases Python's lock while it computes, so two cores can work at once; but a small network is faster than
    the switch between threads. The results are the same either way.

    Parameters
    ----------
    one, other : callable
        Typical work, for the trial.
    """

    def __init__(self, one: Callable[[], object], other: Callable[[], object]) -> None:
        self._pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        durations_s: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(_TRIALS):
            for at_once, times in durations_s.items():
                self.at_once = at_once
                began = time.perf_counter()
                self.run(one, other)
                times.append(time.perf_counter() - began)
        self.at_once = min(durations_s[True]) < min(durations_s[False])
        """Whether both run at once."""

    def run(self, one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
        """Return both results."""
        if not self.at_once:
            return one(), other()
        beside = self._pool.submit(one)
        result = other()
        return beside.result(), result
