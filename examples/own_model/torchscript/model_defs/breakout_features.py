"""Five columns of each bar, and the same over arrays."""

from collections import deque

import numpy as np

CLOSES = 20
"""Closes that the range is taken from."""


class Features:
    def __init__(self, instrument_ids):
        self.closes = deque(maxlen=CLOSES)

    def update(self, bar):
        """Return distances from the close before, and the range of the last closes, in bps of the newest one."""
        prices = [float(price) for price in (bar.open, bar.high, bar.low, bar.close)]
        before = self.closes[-1] if self.closes else None
        self.closes.append(prices[-1])
        if len(self.closes) < CLOSES:
            return None
        spread = max(self.closes) - min(self.closes)
        return [*(1e4 * (price - before) / before for price in prices), 1e4 * spread / prices[-1]]


def features(arrays):
    """Return the rows of all bars at once: what `Features` returns one by one, bit for bit."""
    (bars,) = arrays.values()
    close = bars.prices("close")
    before = close[CLOSES - 2 : -1]
    windows = np.lib.stride_tricks.sliding_window_view(close, CLOSES)
    spread = windows.max(axis=1) - windows.min(axis=1)
    columns = [1e4 * (bars.prices(name)[CLOSES - 1 :] - before) / before for name in ("open", "high", "low", "close")]
    return np.stack([*columns, 1e4 * spread / close[CLOSES - 1 :]], axis=1)
