"""Trades on the tick model's class: long on BUY, short on SELL, unchanged on HOLD."""

from decimal import Decimal

from nautilus_trader.model.enums import OrderSide

from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig
from nautilus_torchserve.wire.output_constraints import PROBABILITY, OutputConstraints

CLASSES = ("buy", "sell", "hold")
"""Outputs of a tick model, probabilities that sum to 1."""


class TickStrategyConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration for `TickStrategy`, in addition to `PredictionStrategyConfig`.

    Parameters
    ----------
    min_probability : float, default 0.45
        The minimum probability of BUY or SELL to act on, in (1/3, 1).
    cooldown_ns : int, default 1_000_000_000
        The minimum time between two orders (nanoseconds).
    """

    min_probability: float = 0.45
    cooldown_ns: int = 1_000_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(1 / 3 < self.min_probability < 1, f"min_probability in (1/3, 1), got {self.min_probability:g}")
        expect(self.cooldown_ns >= 0, f"cooldown_ns of at least 0, got {self.cooldown_ns}")


class TickStrategy(PredictionStrategy):
    """Turns the position with one market order on a confident prediction of the other side.

    Parameters
    ----------
    config : TickStrategyConfig
    """

    required = OutputConstraints(dict.fromkeys(CLASSES, PROBABILITY), (CLASSES,))

    def __init__(self, config: TickStrategyConfig) -> None:
        super().__init__(config)
        self._next_order_ns = 0

    def act_on(self, prediction: Prediction) -> str:
        if self.clock.timestamp_ns() < self._next_order_ns:
            return "within cooldown_ns of the last order"
        likeliest = max(CLASSES, key=prediction.outputs.__getitem__)
        if prediction.outputs[likeliest] < self.config.min_probability:
            return "below min_probability"
        position = self.portfolio.net_position(self.config.instrument_id)
        if likeliest == "buy" and position <= 0:
            return self._turn(OrderSide.BUY, self.config.trade_size - position, prediction)
        if likeliest == "sell" and position >= 0:
            return self._turn(OrderSide.SELL, self.config.trade_size + position, prediction)
        return f"{likeliest}: nothing to do"

    def _turn(self, side: OrderSide, quantity: Decimal, prediction: Prediction) -> str:
        self._next_order_ns = self.clock.timestamp_ns() + self.config.cooldown_ns
        return self.order(side, quantity, prediction)
