"""Twelve ways for features to know the future: streaming classes, and vectorised forms that ought to equal them."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.model.data import Bar

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import Trades

MINUTES, TEN_SECONDS = "bars:1-MINUTE-LAST-EXTERNAL", "bars:10-SECOND-LAST-INTERNAL"


class OfCloses:
    """One value of the closes so far."""

    def __init__(self, instrument_ids: Any) -> None:
        self.closes: list[float] = []

    def update(self, bar: Bar) -> list[float] | None:
        self.closes.append(bar.close.as_double())
        value = self.value(np.array(self.closes))
        return None if value is None else [value]

    def value(self, closes: np.ndarray) -> float | None:
        raise NotImplementedError


class Change(OfCloses):
    """Change over five bars, 0 before."""

    def value(self, closes: np.ndarray) -> float:
        return closes[-1] / closes[-6] - 1 if len(closes) > 5 else 0.0


class Gap(OfCloses):
    """Distance from the mean of the last five closes."""

    def value(self, closes: np.ndarray) -> float | None:
        return closes[-1] / closes[-5:].mean() - 1 if len(closes) >= 5 else None


class Place(OfCloses):
    """Place between the lowest and the highest of the last 30 closes."""

    def value(self, closes: np.ndarray) -> float | None:
        last = closes[-30:]
        return (last[-1] - last.min()) / (last.max() - last.min()) if len(closes) >= 30 else None


class Filled(OfCloses):
    """The last close of an even number of steps, relative to the newest one."""

    def value(self, closes: np.ndarray) -> float | None:
        even = closes[np.round(closes * 100) % 2 == 0]
        return even[-1] / closes[-1] if len(even) else None


class FiveMinutes:
    """The close of the last whole five minutes, relative to the newest one."""

    def __init__(self, instrument_ids: Any) -> None:
        self.last: float | None = None

    def update(self, bar: Bar) -> list[float] | None:
        close = bar.close.as_double()
        if bar.ts_event % (300 * 10**9) == 0:
            self.last = close
        return None if self.last is None else [self.last / close]


class SinceBar:
    """A trade's price relative to the close of the last bar that has closed."""

    def __init__(self, instrument_ids: Any) -> None:
        self.close: float | None = None

    def update(self, data: Any) -> list[float] | None:
        if isinstance(data, Bar):
            self.close = data.close.as_double()
            return None
        return None if self.close is None else [data.price.as_double() / self.close]


class LongMemory:
    """An exponential average, which remembers where the data began for longer than nothing."""

    def __init__(self, instrument_ids: Any) -> None:
        self.average: float | None = None
        self.recent: deque[float] = deque(maxlen=3)

    def update(self, bar: Bar) -> list[float]:
        close = bar.close.as_double()
        self.average = close if self.average is None else 0.9 * self.average + 0.1 * close
        return [close / self.average]


def _closes(arrays: Mapping[str, Any]) -> pd.Series:
    bars: Bars = arrays[MINUTES]
    return pd.Series(bars.prices("close"), index=pd.to_datetime(bars.ts_event))


def _rows(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float32).reshape(-1, 1)


def future_shift(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays).shift(-1).ffill()
    return _rows(close.pct_change(5).fillna(0))


def target_in_features(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays)
    return _rows((close.shift(-5) / close - 1).fillna(0))


def negative_index(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays).to_numpy()
    return _rows([close[at] / close[at - 5] - 1 for at in range(len(close))])


def next_open(arrays: Mapping[str, Any]) -> np.ndarray:
    bars: Bars = arrays[MINUTES]
    close, following = bars.prices("close"), np.append(bars.prices("open")[1:], bars.prices("close")[-1:])
    change = following / pd.Series(close).shift(5).to_numpy() - 1
    return _rows(np.nan_to_num(change))


def centred_window(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays)
    return _rows((close / close.rolling(5, center=True).mean().ffill() - 1)[4:])


def fit_on_all(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays)
    return _rows(((close - close.mean()) / close.std())[4:])


def global_extremes(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays)
    return _rows(((close - close.min()) / (close.max() - close.min()))[29:])


def sorting(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays).to_numpy()
    return _rows((np.searchsorted(np.sort(close), close) / len(close))[29:])


def backward_fill(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays)
    return _rows((close.where((close * 100).round() % 2 == 0).bfill() / close).dropna())


def future_fill(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays)
    return _rows((close.where((close * 100).round() % 2 == 0).interpolate() / close).dropna())


def resample_label(arrays: Mapping[str, Any]) -> np.ndarray:
    close = _closes(arrays)
    fives = close.resample("5min", label="left", closed="right").last()
    return _rows((fives.reindex(close.index).ffill() / close).dropna())


def bar_by_its_open(arrays: Mapping[str, Any]) -> np.ndarray:
    trades: Trades = arrays["trades"]
    bars: Bars = arrays[TEN_SECONDS]
    opened = bars.ts_event - bars.interval_ns
    last = np.searchsorted(opened, trades.ts_init, side="right") - 1
    known = last >= 0
    return _rows((trades.price[known] / 100.0) / bars.prices("close")[last[known]])


LEAKS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "future_shift": (Change, (MINUTES,)),
    "target_in_features": (Change, (MINUTES,)),
    "negative_index": (Change, (MINUTES,)),
    "next_open": (Change, (MINUTES,)),
    "centred_window": (Gap, (MINUTES,)),
    "fit_on_all": (Gap, (MINUTES,)),
    "global_extremes": (Place, (MINUTES,)),
    "sorting": (Place, (MINUTES,)),
    "backward_fill": (Filled, (MINUTES,)),
    "future_fill": (Filled, (MINUTES,)),
    "resample_label": (FiveMinutes, (MINUTES,)),
    "bar_by_its_open": (SinceBar, ("trades", TEN_SECONDS)),
}
"""Vectorised form that leaks -> the streaming class that does not, and its data."""
