"""Long while the expected move exceeds the cost, short while its opposite does."""

from decimal import Decimal

from nautilus_trader.model.enums import OrderSide

from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig


class BookConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration of `Book`, in addition to `PredictionStrategyConfig`.

    Parameters
    ----------
    cost_bps : float
        Expected moves of no more than this are not traded on.
    """

    cost_bps: float = 0.5


class Book(PredictionStrategy):
    def act_on(self, prediction: Prediction) -> str:
        move, cost = prediction.outputs["move_bps"], self.config.cost_bps
        size = self.config.trade_size
        wanted = size if move > cost else -size if move < -cost else Decimal(0)
        change = wanted - self.portfolio.net_position(self.config.instrument_id)
        if not change:
            return "position as wanted"
        return self.order(OrderSide.BUY if change > 0 else OrderSide.SELL, abs(change), prediction)
