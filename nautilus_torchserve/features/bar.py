"""Windows of bars: the inputs of a price model.

A row is the last ``TIME_STEPS`` bars, oldest first: open, high, low, close and volume in the source's
own units and, where a model uses them, the columns of `features.indicators`. The model itself makes them comparable
(relative to the window's last close and mean volume), so that the wire carries what a chart shows.

A window never spans a gap: bars further apart than ``max_gap_ns``. Windows without any volume are left out, as
nothing is relative to a mean of 0: an instrument that did not trade for so long has no forecast. All columns look back
on a fixed number of bars, so a row depends on its last ``schema.window`` bars only, wherever the data begin.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nautilus_torchserve.features.indicators import INDICATORS, WARM_UP, indicator_columns
from nautilus_torchserve.features.schema import Column, FeatureSchema

TIME_STEPS = 60
OHLCV = (
    Column("open", "quote"),
    Column("high", "quote"),
    Column("low", "quote"),
    Column("close", "quote"),
    Column("volume", "any"),
)
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
MIN_VOLUME = float(np.finfo(np.float32).tiny)
"""Smallest accepted maximum of a window's volumes: the mean of smaller ones may be 0 as a float32."""


def bar_schema(indicators: bool = False, time_steps: int = TIME_STEPS) -> FeatureSchema:
    """Return the schema of windows of ``time_steps`` bars, with or without indicator columns."""
    return FeatureSchema(
        name="bar/1",
        columns=(*OHLCV, *INDICATORS) if indicators else OHLCV,
        window=time_steps + (WARM_UP - 1 if indicators else 0),
        time_steps=time_steps,
    )


def bar_columns(ohlcv: NDArray[np.float64], indicators: bool = False) -> NDArray[np.float32]:
    """Return the columns of each bar; the vectorised form of what a live actor collects.

    Parameters
    ----------
    ohlcv : float64 [n, 5]
        Open, high, low, close, volume.
    indicators : bool
        Whether `features.indicators` follow; their first `WARM_UP` - 1 values are NaN.

    Returns
    -------
    float32 [n, 5] or [n, 5 + indicators]
    """
    if not indicators:
        return ohlcv.astype(np.float32)
    return np.hstack([ohlcv, indicator_columns(ohlcv)]).astype(np.float32)


def window_ends(ts_event: NDArray[np.int64], max_gap_ns: int, lookback: int) -> NDArray[np.int64]:
    """Return the positions of the bars that end a complete window.

    Parameters
    ----------
    ts_event : int64 [n]
        Unix nanoseconds, increasing.
    max_gap_ns : int
        Bars further apart than this begin a new window.
    lookback : int
        Bars that a row needs: ``schema.window``.

    Returns
    -------
    int64 [m]
    """
    here = np.arange(len(ts_event))
    begins = np.ones(len(ts_event), dtype=bool)
    begins[1:] = np.diff(ts_event) > max_gap_ns
    since = here - np.maximum.accumulate(np.where(begins, here, 0))
    return np.flatnonzero(since >= lookback - 1)


def have_volume(
    volume: NDArray[np.floating], ends: NDArray[np.int64], time_steps: int = TIME_STEPS
) -> NDArray[np.bool_]:
    """Return which windows have any volume.

    Parameters
    ----------
    volume : float [n]
        Volumes of all bars.
    ends : int64 [m]
        Positions of the bars that end the windows, as `window_ends` returns them.
    time_steps : int
        Bars of a window.

    Returns
    -------
    bool [m]
    """
    traded = np.concatenate([[0], np.cumsum(volume.astype(np.float32) >= np.float32(MIN_VOLUME))])
    return traded[ends + 1] > traded[ends + 1 - time_steps]


def windows(columns: NDArray[np.float32], ends: NDArray[np.int64], time_steps: int = TIME_STEPS) -> NDArray[np.float32]:
    """Return the rows that end at these bars, float32 [m, time_steps, columns]; a copy."""
    if not len(ends):
        return np.empty((0, time_steps, columns.shape[1]), dtype=np.float32)
    every = sliding_window_view(columns, time_steps, axis=0)  # (n - T + 1, F, T)
    return np.ascontiguousarray(every[ends - time_steps + 1].transpose(0, 2, 1))
