"""Downsampling for charts: fewer points that cover the same pixels."""

import numpy as np
from numpy.typing import NDArray

BINS = 1_000
"""Time bins of a chart, about one per pixel."""


def line_points(ts_ns: NDArray[np.int64], values: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """Return the indices of each time bin's first, lowest, highest and last value, in order.

    A line through them covers the same pixels as one through all points, as long as a bin is a pixel
    wide (M4, Jugel et al. 2014); no extreme is lost. Few points are all kept.

    Parameters
    ----------
    ts_ns : int64 [n]
        Non-decreasing.
    values : float64 [n]
        Finite.
    bins : int
        Bins of equal width in time.
    """
    if len(ts_ns) <= 4 * bins:
        return np.arange(len(ts_ns))
    place = _places(ts_ns, ts_ns[0], ts_ns[-1], bins)
    first = np.flatnonzero(np.diff(place, prepend=-1))
    last = np.append(first[1:], len(ts_ns)) - 1
    by_value = np.lexsort((values, place))  # bins stay in order, values rise within each
    return np.unique(np.concatenate((first, last, by_value[first], by_value[last])))


def strongest_points(
    ts_ns: NDArray[np.int64], strength: NDArray[np.float64], start: int, end: int, bins: int = BINS
) -> NDArray[np.int64]:
    """Return the indices of the strongest point in each time bin of [start, end], in order; all where they are few."""
    if len(ts_ns) <= bins:
        return np.arange(len(ts_ns))
    place = _places(ts_ns, start, end, bins)
    order = np.lexsort((strength, place))
    last = np.append(np.flatnonzero(np.diff(place[order])), len(order) - 1)
    return np.sort(order[last])


def _places(ts_ns: NDArray[np.int64], start: int, end: int, bins: int) -> NDArray[np.int64]:
    width = max(int(end) - int(start), 1) // bins + 1
    return np.clip((ts_ns - start) // width, 0, bins - 1)
