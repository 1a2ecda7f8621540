"""Windows of bars: the inputs of a price model.

A row is the last ``TIME_STEPS`` bars, oldest first: open, high, low, close and volume in the source's
own units and, where a model uses them, the columns of `features.bar`. The model itself makes them comparable
(relative to the window's last close and mean volume), so that the wire carries what a chart shows.

A window never spans a gap: bars further apart than ``max_gap_ns``. Windows without any volume are left out, as
nothing is relative to a mean of 0: an instrument that did not trade for so long has no forecast. All columns look back
on a fixed number of bars, so a row depends on its last ``schema.window`` bars only, wherever the data begin.

Only indicators of finite memory: simple averages, never exponential ones. An exponential average
depends on its first bar for ever, so its value would depend on where the data begin, and a live
run would not compute what the training did. Here a value depends on the `WARM_UP` bars that end with it.

========================== ==========================================================================
``rsi_14``                 RelativeStrengthIndex(14, SIMPLE), in [0, 1]
``sma_12_ratio``           close / SimpleMovingAverage(12) - 1
``sma_48_ratio``           close / SimpleMovingAverage(48) - 1
``atr_14_ratio``           AverageTrueRange(14, SIMPLE) / close
``realised_volatility_30`` square root of SimpleMovingAverage(30) over squared one-bar returns
``return_12``              RateOfChange(13): the simple return over 12 bars
``range_ratio``            (high - low) / close
``body_ratio``             (close - open) / open
========================== ==========================================================================

The averages add from the oldest value to the newest, as NautilusTrader's do; there is no logarithm
and no exponential, whose last bits differ between libraries.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import Column, FeatureSchema

RSI, SMA_FAST, SMA_SLOW, ATR, VOLATILITY, RETURN = 14, 12, 48, 14, 30, 12
"""Periods, in bars."""
INDICATORS = (
    Column(f"rsi_{RSI}", "1"),
    Column(f"sma_{SMA_FAST}_ratio", "1"),
    Column(f"sma_{SMA_SLOW}_ratio", "1"),
    Column(f"atr_{ATR}_ratio", "1"),
    Column(f"realised_volatility_{VOLATILITY}", "1"),
    Column(f"return_{RETURN}", "1"),
    Column("range_ratio", "1"),
    Column("body_ratio", "1"),
)
WARM_UP = max(RSI + 1, SMA_FAST, SMA_SLOW, ATR + 1, VOLATILITY + 1, RETURN + 1)
"""Bars that a value depends on, its own included; changes (RSI, ATR, returns) need one more than their period."""
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
        Whether `features.bar` follow; their first `WARM_UP` - 1 values are NaN.

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


def breaks_note(ts_event: NDArray[np.int64], max_gap_ns: int) -> str:
    """Return a clause on the breaks that keep windows from being whole, with the remedy; none without breaks."""
    gaps_ns = np.diff(ts_event)
    breaks = gaps_ns[gaps_ns > max_gap_ns]
    if not len(breaks):
        return ""
    return (
        f"; bars more than {max_gap_ns / 1e9:g} s apart begin a new window, and {len(breaks):,} are, by up to "
        f"{breaks.max() / 1e9:g} s: `train price --max-gap` admits breaks within a window, --bar longer bars"
    )


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


def indicator_columns(ohlcv: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all of `INDICATORS` for each bar.

    Parameters
    ----------
    ohlcv : float64 [n, 5]
        Open, high, low, close, volume; positive prices.

    Returns
    -------
    float64 [n, 8]
        NaN for the first ``WARM_UP - 1`` bars.
    """
    open_, high, low, close, _ = ohlcv.T
    before = np.concatenate([close[:1], close[:-1]])
    true_range = np.maximum(before, high) - np.minimum(low, before)
    columns = np.stack(
        [
            _rsi(close - before),
            close / _average(close, SMA_FAST) - 1.0,
            close / _average(close, SMA_SLOW) - 1.0,
            _average(true_range, ATR) / close,
            np.sqrt(_average(((close - before) / before) ** 2, VOLATILITY)),
            _rate_of_change(close, RETURN),
            (high - low) / close,
            (close - open_) / open_,
        ],
        axis=1,
    )
    columns[: WARM_UP - 1] = np.nan
    return columns


def _average(values: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    """Return the mean of the last ``period`` values, added from the oldest on; NaN while there are fewer."""
    means = np.full(len(values), np.nan)
    if len(values) >= period:
        total = np.zeros(len(values) - period + 1)
        for lag in range(period):
            total += values[lag : lag + len(total)]
        means[period - 1 :] = total / period
    return means


def _rsi(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the relative strength over simple averages of gains and losses: 1 without losses."""
    gain, loss = (_average(np.maximum(signed, 0.0), RSI) for signed in (change, -change))
    lossless = loss == 0
    return np.where(lossless, 1.0, 1.0 - 1.0 / (1.0 + gain / np.where(lossless, 1.0, loss)))


def _rate_of_change(close: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    change = np.full(len(close), np.nan)
    change[period:] = (close[period:] - close[:-period]) / close[:-period]
    return change
