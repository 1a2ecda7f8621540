"""Four causal, scale-free features of a trade, from it and the ``window`` trades before.

With price p, size v, aggressor sign s (+1 buyer, -1 seller, 0 unknown), event time t
and window W, at trade i:

``return_bps``
    10,000 * (p[i] - p[i-W]) / p[i-W], the simple return over the window, in bps.
``flow_imbalance``
    sum(s*v) / sum(v) over the last W trades, in [-1, 1].
``relative_size``
    W*v[i] / (W*v[i] + sum(v)), sum over the last W trades: 0.5 for a trade of the
    window's mean size, towards 1 for a large one.
``relative_gap``
    W*g / (W*g + t[i]-t[i-W]) with g = t[i]-t[i-1]: 0.5 when the trade came after the
    window's mean gap, 0 when it came without one.

Prices and sizes are whole numbers of the instrument's smallest step, so that window
sums are exact integers however they are accumulated; floats appear only in the last
division. That is what makes :class:`TickFeatures` (streaming) and :func:`tick_features`
(vectorised) agree bit for bit. Integers stay exact in float64 below 2**53.
"""

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import Column, FeatureSchema

WINDOW = 32
COLUMNS = (
    Column("return_bps", "bps"),
    Column("flow_imbalance", "1"),
    Column("relative_size", "1"),
    Column("relative_gap", "1"),
)


def tick_schema(window: int = WINDOW) -> FeatureSchema:
    """Return the schema of these features over ``window`` trades."""
    return FeatureSchema(name="tick/1", columns=COLUMNS, window=window)


class TickFeatures:
    """Streaming form: one trade in, one row out, O(1).

    Parameters
    ----------
    window : int
        Trades to look back on; the first row comes with trade ``window + 1``.
    """

    __slots__ = ("_at", "_flow", "_prices", "_signed", "_sizes", "_times", "_volume", "seen", "window")

    def __init__(self, window: int = WINDOW) -> None:
        if window < 1:
            raise ValueError(f"expected window of at least 1 trade, got {window}")
        self.window = window
        self.seen = 0
        self._at = 0
        self._prices = [0] * window
        self._times = [0] * window
        self._sizes = [0] * window
        self._signed = [0] * window
        self._volume = 0
        self._flow = 0

    def update(self, price: int, size: int, side: int, ts_event: int) -> tuple[float, float, float, float] | None:
        """Add one trade and return its row.

        Parameters
        ----------
        price, size : int
            In the instrument's smallest steps, both positive.
        side : int
            +1 buyer aggressor, -1 seller, 0 unknown.
        ts_event : int
            Unix nanoseconds, not before the trade's predecessor.

        Returns
        -------
        tuple of float or None
            The row in the schema's order; None while the window fills.
        """
        window, at = self.window, self._at
        times, prices = self._times, self._prices
        oldest_time, oldest_price = times[at], prices[at]  # those of trade i-W
        gap = ts_event - times[at - 1]
        signed = side * size
        volume = self._volume = self._volume + size - self._sizes[at]
        flow = self._flow = self._flow + signed - self._signed[at]
        times[at], prices[at], self._sizes[at], self._signed[at] = ts_event, price, size, signed
        self._at = at + 1 if at + 1 < window else 0
        self.seen += 1
        if self.seen <= window:
            return None
        share = window * size
        wait = window * gap
        span = wait + ts_event - oldest_time
        return (
            1e4 * float(price - oldest_price) / float(oldest_price),
            float(flow) / float(volume),
            float(share) / float(share + volume),
            float(wait) / float(span) if span else 0.0,
        )

    def refine(self, price: int, size: int) -> None:
        """Change to smaller steps of price and size: so many of them make up one of the steps so far."""
        self._prices = [value * price for value in self._prices]
        self._sizes = [value * size for value in self._sizes]
        self._signed = [value * size for value in self._signed]
        self._volume *= size
        self._flow *= size


def tick_features(
    price: NDArray[np.int64],
    size: NDArray[np.int64],
    side: NDArray[np.int8],
    ts_event: NDArray[np.int64],
    window: int = WINDOW,
) -> NDArray[np.float32]:
    """Compute the features of all rows at once, as :class:`TickFeatures` does one by one.

    Parameters
    ----------
    price, size : int64 [n]
        In the instrument's smallest steps.
    side : int8 [n]
        +1, -1 or 0.
    ts_event : int64 [n]
        Unix nanoseconds, non-decreasing.

    Returns
    -------
    float32 [n, 4]
        Row i belongs to trade i; the first ``window`` rows are NaN (the window fills).
    """
    if window < 1:
        raise ValueError(f"expected window of at least 1 trade, got {window}")
    rows = np.full((len(price), len(COLUMNS)), np.nan, dtype=np.float32)
    if len(price) <= window:
        return rows
    volume = _window_sums(size, window)
    flow = _window_sums(size * side, window)
    share = window * size[window:]
    wait = window * (ts_event[window:] - ts_event[window - 1 : -1])
    span = wait + ts_event[window:] - ts_event[:-window]
    before = price[:-window]
    rows[window:, 0] = 1e4 * (price[window:] - before).astype(np.float64) / before.astype(np.float64)
    rows[window:, 1] = flow.astype(np.float64) / volume.astype(np.float64)
    rows[window:, 2] = share.astype(np.float64) / (share + volume).astype(np.float64)
    rows[window:, 3] = np.where(span > 0, wait, 0).astype(np.float64) / np.maximum(span, 1).astype(np.float64)
    return rows


def _window_sums(values: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Return sums over ``values[i-window+1 : i+1]`` for i = window, ..., n-1; exact, as they are integers."""
    total = np.cumsum(values, dtype=np.int64)
    return total[window:] - total[:-window]
