"""Indicators of one-minute bars, and the imbalance of the trades within each minute."""

from nautilus_trader.indicators import (
    AverageTrueRange,
    ExponentialMovingAverage,
    MovingAverageType,
    RelativeStrengthIndex,
)
from nautilus_trader.model.data import Bar, TradeTick
from nautilus_trader.model.enums import AggressorSide


class Features:
    def __init__(self, instrument_ids):
        self.rsi = RelativeStrengthIndex(14, MovingAverageType.SIMPLE)
        self.ema = ExponentialMovingAverage(5)
        self.atr = AverageTrueRange(14, MovingAverageType.SIMPLE)
        self.bought = self.sold = 0  # whole units of the smallest size: sums are exact

    def update(self, data):
        """Return a row with each bar: what is known when it closes."""
        if isinstance(data, TradeTick):
            if data.aggressor_side == AggressorSide.BUYER:
                self.bought += data.size.raw
            elif data.aggressor_side == AggressorSide.SELLER:
                self.sold += data.size.raw
            return None
        assert isinstance(data, Bar)
        for indicator in (self.rsi, self.ema, self.atr):
            indicator.handle_bar(data)
        traded, imbalance = self.bought + self.sold, self.bought - self.sold
        self.bought = self.sold = 0
        if not (self.rsi.initialized and self.ema.initialized and self.atr.initialized):
            return None
        close = data.close.as_double()
        return (
            self.rsi.value,
            1e4 * (close / self.ema.value - 1.0),
            1e4 * self.atr.value / close,
            imbalance / traded if traded else 0.0,
        )
