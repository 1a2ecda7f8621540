"""Windows of a stream of bars: the streaming form of `features.bar`, on NautilusTrader's own indicators."""

import math

import numpy as np
from nautilus_trader.indicators import (
    AverageTrueRange,
    MovingAverageType,
    RateOfChange,
    RelativeStrengthIndex,
    SimpleMovingAverage,
)
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import (
    ATR,
    MIN_VOLUME,
    OHLCV,
    RETURN,
    RSI,
    SMA_FAST,
    SMA_SLOW,
    TIME_STEPS,
    VOLATILITY,
    VOLUME,
    bar_schema,
)


class BarIndicators:
    """The columns of `features.bar` for one bar after the other, equal to them bit for bit.

    The first ``WARM_UP - 1`` rows are those of indicators that are not filled yet, and not to be used.
    """

    def __init__(self) -> None:
        self._rsi = RelativeStrengthIndex(RSI, MovingAverageType.SIMPLE)
        self._fast = SimpleMovingAverage(SMA_FAST)
        self._slow = SimpleMovingAverage(SMA_SLOW)
        self._atr = AverageTrueRange(ATR, MovingAverageType.SIMPLE)
        self._variance = SimpleMovingAverage(VOLATILITY)
        self._return = RateOfChange(RETURN + 1)
        self._close: float | None = None

    def update(self, open_: float, high: float, low: float, close: float) -> tuple[float, ...]:
        """Add a bar; return its row in the order of `features.bar.INDICATORS`."""
        before = close if self._close is None else self._close
        change = (close - before) / before
        self._close = close
        self._rsi.update_raw(close)
        self._fast.update_raw(close)
        self._slow.update_raw(close)
        self._atr.update_raw(high, low, close)
        self._variance.update_raw(change * change)
        self._return.update_raw(close)
        return (
            self._rsi.value,
            close / self._fast.value - 1.0,
            close / self._slow.value - 1.0,
            self._atr.value / close,
            math.sqrt(self._variance.value),
            self._return.value,
            (high - low) / close,
            (close - open_) / open_,
        )


class BarFeatures:
    """Returns the window that ends with each bar; a break starts afresh.

    Parameters
    ----------
    indicators : bool
        Whether the columns of `features.bar` follow open, high, low, close and volume.
    max_gap_ns : int
        Bars further apart than this have a break between them, which no window spans.
    time_steps : int
        Bars of a window.
    """

    def __init__(self, indicators: bool, max_gap_ns: int, time_steps: int = TIME_STEPS) -> None:
        if max_gap_ns < 1:
            raise ValueError(f"expected max_gap_ns of at least 1, got {max_gap_ns}")
        if time_steps < 1:
            raise ValueError(f"expected time_steps of at least 1, got {time_steps}")
        schema = bar_schema(indicators, time_steps)
        self.max_gap_ns = max_gap_ns
        self.without_volume = 0
        """Windows omitted because none of their bars had any volume."""
        self._quiet = time_steps  # bars since the last one with volume
        self._lookback = schema.window
        self._time_steps = time_steps
        self._indicators = BarIndicators() if indicators else None
        # Each row stands twice, ``time_steps`` apart, so that any window is one slice.
        self._rows = np.empty((2 * time_steps, len(schema.columns)), dtype=np.float32)
        self._at = 0
        self._since_break = 0
        self._ts_event: int | None = None

    def update(
        self, open_: float, high: float, low: float, close: float, volume: float, ts_event: int
    ) -> NDArray[np.float32] | None:
        """Add a bar.

        Parameters
        ----------
        open_, high, low, close, volume : float
            As `market.bars.bars.Bars.prices` and `volumes` return them: whole steps over a power of ten, rounded once.
        ts_event : int
            When it closed, Unix nanoseconds.

        Returns
        -------
        float32 [time_steps, columns] or None
            The window that ends with this bar; None while it fills, and where it has no volume.

        Raises
        ------
        ValueError
            The bar is not after its predecessor.
        """
        if self._ts_event is not None:
            if ts_event <= self._ts_event:
                raise ValueError(f"expected a bar after {self._ts_event}, got one of {ts_event}")
            if ts_event - self._ts_event > self.max_gap_ns:
                self._reset()
        self._ts_event = ts_event
        at, steps = self._at, self._time_steps
        row = self._rows[at]
        row[: len(OHLCV)] = open_, high, low, close, volume
        if self._indicators is not None:
            row[len(OHLCV) :] = self._indicators.update(open_, high, low, close)
        self._rows[at + steps] = row
        self._at = (at + 1) % steps
        self._since_break += 1
        self._quiet = 0 if row[VOLUME] >= MIN_VOLUME else self._quiet + 1
        if self._since_break < self._lookback:
            return None
        if self._quiet >= steps:
            self.without_volume += 1
            return None
        return self._rows[at + 1 : at + 1 + steps].copy()

    def _reset(self) -> None:
        self._since_break = 0
        if self._indicators is not None:
            self._indicators = BarIndicators()
