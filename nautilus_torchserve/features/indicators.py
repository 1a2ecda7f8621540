"""Indicator columns of bars, equal bit for bit to NautilusTrader's own indicators.

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
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import Column

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
