"""Long on BUY, short on SELL, as the most probable class says."""

from nautilus_trader.model.enums import OrderSide

from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig


class BreakoutConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration of `Breakout`: that of `PredictionStrategyConfig`."""


class Breakout(PredictionStrategy):
    def act_on(self, prediction: Prediction) -> str:
        likeliest = max(prediction.outputs, key=prediction.outputs.__getitem__)
        if likeliest == "hold":
            return "hold"
        size = self.config.trade_size
        change = (size if likeliest == "buy" else -size) - self.portfolio.net_position(self.config.instrument_id)
        if not change:
            return "position as wanted"
        return self.order(OrderSide.BUY if change > 0 else OrderSide.SELL, abs(change), prediction)
