"""Lag of the event loop: by how much callbacks run late when something blocks it."""

import asyncio
import time
from bisect import bisect_left
from itertools import accumulate

INTERVAL_S = 0.01
"""Between two measurements (seconds)."""
BLOCKED_MS = 50.0
"""Lags above this count as blocked: no handler of ours takes so long (milliseconds)."""
_BOUNDS_MS = [0.01 * 1.05**step for step in range(330)]
"""Upper ends of the bins, 10 us to some 90 s, each 5 % wider than the one before it."""


class LoopLag:
    """Measures by how much a short sleep takes too long.

    A millisecond of that is the timer's own: epoll counts in milliseconds. The distribution is kept in bins of 5 %,
    in constant memory.
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_MS) + 1)
        self.max_ms = 0.0
        """The largest."""
        self.blocked_s = 0.0
        """Sum of all lags above `BLOCKED_MS`: a quantile does not show one long one (seconds)."""

    async def measure(self) -> None:
        """Measure until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(INTERVAL_S)
            self.add(1e3 * (time.perf_counter() - began - INTERVAL_S))

    def add(self, lag_ms: float) -> None:
        """Add a measurement."""
        self._counts[bisect_left(_BOUNDS_MS, lag_ms)] += 1
        self.max_ms = max(self.max_ms, lag_ms)
        if lag_ms > BLOCKED_MS:
            self.blocked_s += lag_ms / 1e3

    def quantile_ms(self, share: float) -> float:
        """Return the upper end of the bin in which the quantile lies; 0 before the first measurement."""
        total = sum(self._counts)
        if not total:
            return 0.0
        place = bisect_left(list(accumulate(self._counts)), share * total)
        return min(_BOUNDS_MS[place], self.max_ms) if place < len(_BOUNDS_MS) else self.max_ms
