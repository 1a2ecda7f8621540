"""Trades on the next bar's expected return: long above the costs, short below, flat when the signal expires."""

from decimal import Decimal
from typing import Any

from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderEvent, OrderFilled

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import RETRY_NS, PredictionStrategy, PredictionStrategyConfig
from nautilus_torchserve.wire.output_constraints import PROBABILITY, RETURN_BPS, OutputConstraints


class BarStrategyConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration for `BarStrategy`, in addition to `PredictionStrategyConfig`.

    Parameters
    ----------
    horizon_ns : int
        The time for which a signal is valid, from its bar's close on (nanoseconds).
    min_confidence : float, default 0.52
        The minimum probability of the return's sign to act on, in [0.5, 1).
    cost_bps : float, default 2.0
        The round-trip cost of a trade; only larger returns are acted on (bps).
    closed_market_ns : int, default 0
        The maximum delay of the bar that ends a horizon, where markets close for a while (nanoseconds).
    """

    horizon_ns: int
    min_confidence: float = 0.52
    cost_bps: float = 2.0
    closed_market_ns: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.horizon_ns >= 1, f"horizon_ns of at least 1, got {self.horizon_ns}")
        expect(0.5 <= self.min_confidence < 1, f"min_confidence in [0.5, 1), got {self.min_confidence:g}")
        expect(self.cost_bps >= 0, f"cost_bps of at least 0, got {self.cost_bps:g}")
        expect(self.closed_market_ns >= 0, f"closed_market_ns of at least 0, got {self.closed_market_ns}")

    @classmethod
    def complete_fields(cls, fields: dict[str, Any], metadata: ModelMetadata) -> dict[str, Any]:
        bars, fields = metadata.require_bars(), dict(fields)
        if "horizon_ns" not in fields:
            horizon_bars = metadata.require_horizon_bars("how long a signal holds, give it as strategy.horizon_ns")
            fields["horizon_ns"] = horizon_bars * bars.interval_ns
        fields.setdefault("closed_market_ns", bars.max_gap_ns - bars.interval_ns)
        return fields


class BarStrategy(PredictionStrategy):
    """Long or short while there are signals, each of which is valid for ``horizon_ns``.

    A signal is a prediction whose confidence and expected return are large enough. One in the position's
    direction renews it, one against it turns it with a single order. A position that was not renewed is
    closed by the first prediction on a bar that closed at or after the horizon's end, or, where there
    is none, with the first quote after no prediction of that bar could be young enough any more: in a break, at the
    next open.

    Parameters
    ----------
    config : BarStrategyConfig
    """

    required = OutputConstraints({"return_bps": RETURN_BPS, "confidence": PROBABILITY})

    def __init__(self, config: BarStrategyConfig) -> None:
        super().__init__(config)
        self._signal: Prediction | None = None
        """The last signal that was acted on."""
        self._close_order_ns = -RETRY_NS
        """When an order was last sent that closes an expired position, Unix ns."""

    def act_on(self, prediction: Prediction) -> str:
        position = self.portfolio.net_position(self.config.instrument_id)
        direction = self._direction(prediction)
        if direction and (direction * position > 0 or self.may_enter(prediction, direction)):
            self._signal = prediction
            if direction * position > 0:
                return "a signal that renews the position"
            return self.order(_side(direction), self.config.trade_size + abs(position), prediction)
        if position and prediction.feature_ts >= self._horizon_end():
            return self.order(_side(-position), abs(position), prediction)
        return "a signal that may not enter" if direction else "no signal"

    def on_start(self) -> None:
        super().on_start()
        if self._instrument is not None:
            self.subscribe_quote_ticks(self.config.instrument_id)

    @isolate_errors
    def on_quote_tick(self, tick: QuoteTick) -> None:
        if self._signal is not None:
            self._close_expired()

    def may_enter(self, signal: Prediction, direction: int) -> bool:
        """Return whether a signal up (+1) or down (-1) may open or turn a position; here always."""
        return True

    def _direction(self, prediction: Prediction) -> int:
        """Return +1 or -1 for a signal, else 0."""
        expected_bps = prediction.outputs["return_bps"]
        if prediction.outputs["confidence"] < self.config.min_confidence or abs(expected_bps) <= self.config.cost_bps:
            return 0
        return 1 if expected_bps > 0 else -1

    @isolate_errors
    def on_order_event(self, event: OrderEvent) -> None:
        super().on_order_event(event)
        if isinstance(event, OrderFilled):
            self._close_expired()  # the horizon may have ended while the order was under way

    def _close_expired(self) -> None:
        now_ns = self.clock.timestamp_ns()
        if self._signal is None or now_ns < self._expiry_ns():
            return
        if self.halted or self.in_flight is not None:
            return
        position = self.portfolio.net_position(self.config.instrument_id)
        if position and now_ns - self._close_order_ns >= RETRY_NS:  # one that was refused is not sent with every quote
            self._close_order_ns = now_ns
            self.order(_side(-position), abs(position), self._signal)

    def _horizon_end(self) -> int:
        """Return when the last signal's horizon ends, Unix ns; 0 for a position that was there before any signal."""
        return 0 if self._signal is None else self._signal.feature_ts + self.config.horizon_ns

    def _expiry_ns(self) -> int:
        """Return when the last prediction that could renew the signal is too old, Unix ns."""
        return self._horizon_end() + self.config.closed_market_ns + self.config.max_age_ns + 1


def _side(sign: int | Decimal) -> OrderSide:
    return OrderSide.BUY if sign > 0 else OrderSide.SELL
