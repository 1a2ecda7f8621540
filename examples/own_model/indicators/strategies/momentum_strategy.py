"""Long where UP is likelier than a threshold, short where DOWN is."""

from decimal import Decimal

from nautilus_trader.model.enums import OrderSide

from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig


class MomentumConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration of `Momentum`, in addition to `PredictionStrategyConfig`.

    Parameters
    ----------
    threshold : float
        The minimum probability to act on.
    """

    threshold: float = 0.55


class Momentum(PredictionStrategy):
    def act_on(self, prediction: Prediction) -> str:
        size, threshold = self.config.trade_size, self.config.threshold
        up, down = prediction.outputs["up"], prediction.outputs["down"]
        wanted = size if up >= threshold else -size if down >= threshold else Decimal(0)
        change = wanted - self.portfolio.net_position(self.config.instrument_id)
        if not change:
            return "position as wanted"
        return self.order(OrderSide.BUY if change > 0 else OrderSide.SELL, abs(change), prediction)
