"""Thirty feature sets that know nothing of the future."""

from collections import deque
from collections.abc import Mapping
from math import log
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from leaking_features import MINUTES, TEN_SECONDS, FiveMinutes, Gap, Place, SinceBar
from nautilus_trader import indicators
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import AggressorSide

from nautilus_torchserve.market.bars.bars import Bars

SIMPLE = indicators.MovingAverageType.SIMPLE


class CleanSet(NamedTuple):
    """A feature set, as its spec would have it."""

    streaming: type
    data: tuple[str, ...] = (MINUTES,)
    warm_up: int = 0
    vectorised: str | None = None


def of_indicator(kind: type, *arguments: Any, value: str = "value") -> type:
    """A streaming class of one of NautilusTrader's indicators."""

    class OfIndicator:
        def __init__(self, instrument_ids: Any) -> None:
            self.indicator = kind(*arguments)

        def update(self, bar: Bar) -> list[float] | None:
            self.indicator.handle_bar(bar)
            return [getattr(self.indicator, value)] if self.indicator.initialized else None

    return OfIndicator


class Candle:
    """Shape of one bar."""

    def __init__(self, instrument_ids: Any) -> None:
        pass

    def update(self, bar: Bar) -> list[float]:
        open_, close = bar.open.as_double(), bar.close.as_double()
        return [(close - open_) / open_]


class Logarithm(Candle):
    def update(self, bar: Bar) -> list[float]:
        return [log(bar.close.as_double())]


class MinuteOfHour(Candle):
    def update(self, bar: Bar) -> list[float]:
        return [bar.ts_event // (60 * 10**9) % 60 / 60]


class EveryThird:
    """A row with every close at a whole third of the hour alone."""

    def __init__(self, instrument_ids: Any) -> None:
        self.closes: deque[float] = deque(maxlen=20)

    def update(self, bar: Bar) -> list[float] | None:
        self.closes.append(bar.close.as_double())
        is_due = bar.ts_event % (1200 * 10**9) == 0 and len(self.closes) == 20
        return [max(self.closes) / min(self.closes)] if is_due else None


class ReusedRow:
    """Returns the same array again and again."""

    def __init__(self, instrument_ids: Any) -> None:
        self.row = np.zeros(1)

    def update(self, bar: Bar) -> np.ndarray:
        self.row[0] = bar.high.as_double() / bar.low.as_double()
        return self.row


class Median(Candle):
    def __init__(self, instrument_ids: Any) -> None:
        self.closes: deque[float] = deque(maxlen=9)

    def update(self, bar: Bar) -> list[float] | None:
        self.closes.append(bar.close.as_double())
        return [float(np.median(self.closes))] if len(self.closes) == 9 else None


class Flow:
    """Imbalance of the last 50 trades."""

    def __init__(self, instrument_ids: Any) -> None:
        self.signed: deque[int] = deque(maxlen=50)

    def update(self, trade: Any) -> list[float] | None:
        sign = {AggressorSide.BUYER: 1, AggressorSide.SELLER: -1}.get(trade.aggressor_side, 0)
        self.signed.append(sign * trade.size.raw)
        return [sum(self.signed) / sum(map(abs, self.signed))] if len(self.signed) == 50 else None


class TimeBetween:
    def __init__(self, instrument_ids: Any) -> None:
        self.last: int | None = None

    def update(self, trade: Any) -> list[float] | None:
        last, self.last = self.last, trade.ts_event
        return None if last is None else [(trade.ts_event - last) / 1e9]


class TradesOfBar:
    """Number of trades in a bar."""

    def __init__(self, instrument_ids: Any) -> None:
        self.count = 0

    def update(self, data: Any) -> list[float] | None:
        if not isinstance(data, Bar):
            self.count += 1
            return None
        count, self.count = self.count, 0
        return [float(count)]


def gap(arrays: Mapping[str, Any]) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(arrays[MINUTES].prices("close"), 5)
    return (windows[:, -1] / windows.mean(axis=1) - 1).reshape(-1, 1)


def place(arrays: Mapping[str, Any]) -> np.ndarray:
    close = pd.Series(arrays[MINUTES].prices("close"))
    low, high = close.rolling(30).min(), close.rolling(30).max()
    return ((close - low) / (high - low)).dropna().to_numpy().reshape(-1, 1)


def five_minutes(arrays: Mapping[str, Any]) -> np.ndarray:
    bars: Bars = arrays[MINUTES]
    close = pd.Series(bars.prices("close"), index=pd.to_datetime(bars.ts_event))
    fives = close.resample("5min", label="right", closed="right").last()
    at_end = fives[fives.index <= close.index[-1]]
    whole = at_end.reindex(close.index).ffill()
    return (whole / close).dropna().to_numpy().reshape(-1, 1)


def since_bar(arrays: Mapping[str, Any]) -> np.ndarray:
    trades, bars = arrays["trades"], arrays[TEN_SECONDS]
    last = np.searchsorted(bars.ts_event, trades.ts_init, side="right") - 1
    known = last >= 0
    return ((trades.price[known] / 100.0) / bars.prices("close")[last[known]]).reshape(-1, 1)


def candle(arrays: Mapping[str, Any]) -> np.ndarray:
    open_, close = arrays[MINUTES].prices("open"), arrays[MINUTES].prices("close")
    return ((close - open_) / open_).reshape(-1, 1)


MODULE = "clean_features"
CLEAN: Mapping[str, CleanSet] = {
    "SimpleMovingAverage": CleanSet(of_indicator(indicators.SimpleMovingAverage, 10)),
    "WeightedMovingAverage": CleanSet(of_indicator(indicators.WeightedMovingAverage, 10)),
    "ExponentialMovingAverage": CleanSet(of_indicator(indicators.ExponentialMovingAverage, 5), warm_up=100),
    "DoubleExponentialMovingAverage": CleanSet(of_indicator(indicators.DoubleExponentialMovingAverage, 4), warm_up=120),
    "WilderMovingAverage": CleanSet(of_indicator(indicators.WilderMovingAverage, 4), warm_up=120),
    "HullMovingAverage": CleanSet(of_indicator(indicators.HullMovingAverage, 9), warm_up=20),
    "RelativeStrengthIndex": CleanSet(of_indicator(indicators.RelativeStrengthIndex, 5), warm_up=120),
    "RelativeStrengthIndexSimple": CleanSet(of_indicator(indicators.RelativeStrengthIndex, 5, SIMPLE), warm_up=10),
    "RateOfChange": CleanSet(of_indicator(indicators.RateOfChange, 7)),
    "AverageTrueRange": CleanSet(of_indicator(indicators.AverageTrueRange, 5, SIMPLE), warm_up=10),
    "AverageTrueRangeExponential": CleanSet(
        of_indicator(indicators.AverageTrueRange, 5, indicators.MovingAverageType.EXPONENTIAL), warm_up=120
    ),
    "BollingerBands": CleanSet(of_indicator(indicators.BollingerBands, 10, 2.0, value="upper")),
    "DonchianChannel": CleanSet(of_indicator(indicators.DonchianChannel, 12, value="middle")),
    "Stochastics": CleanSet(of_indicator(indicators.Stochastics, 8, 3, value="value_k"), warm_up=10),
    "CommodityChannelIndex": CleanSet(of_indicator(indicators.CommodityChannelIndex, 8, 0.015), warm_up=10),
    "MovingAverageConvergenceDivergence": CleanSet(
        of_indicator(indicators.MovingAverageConvergenceDivergence, 3, 6), warm_up=140
    ),
    "EfficiencyRatio": CleanSet(of_indicator(indicators.EfficiencyRatio, 8), warm_up=10),
    "Bias": CleanSet(of_indicator(indicators.Bias, 6, SIMPLE), warm_up=10),
    "Swings": CleanSet(of_indicator(indicators.ChandeMomentumOscillator, 6, SIMPLE), warm_up=20),
    "Candle": CleanSet(Candle, vectorised=f"{MODULE}:candle"),
    "Logarithm": CleanSet(Logarithm),
    "MinuteOfHour": CleanSet(MinuteOfHour),
    "EveryThird": CleanSet(EveryThird),
    "ReusedRow": CleanSet(ReusedRow),
    "Median": CleanSet(Median),
    "Gap": CleanSet(Gap, vectorised=f"{MODULE}:gap"),
    "Place": CleanSet(Place, vectorised=f"{MODULE}:place"),
    "FiveMinutes": CleanSet(FiveMinutes, vectorised=f"{MODULE}:five_minutes"),
    "Flow": CleanSet(Flow, ("trades",)),
    "TimeBetween": CleanSet(TimeBetween, ("trades",)),
    "SinceBar": CleanSet(SinceBar, ("trades", TEN_SECONDS), warm_up=50, vectorised=f"{MODULE}:since_bar"),
    "TradesOfBar": CleanSet(TradesOfBar, ("trades", TEN_SECONDS), warm_up=1),
    "VolumeBars": CleanSet(Candle, ("bars:20-VOLUME-LAST-INTERNAL",)),
}
"""Name -> feature set."""
