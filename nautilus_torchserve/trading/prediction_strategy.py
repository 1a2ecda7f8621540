"""The base of strategies on predictions: valid predictions, one order in flight, failures, halts, tags of orders."""

from decimal import Decimal
from operator import index
from typing import Any, Literal, NamedTuple

from nautilus_trader.common.component import TimeEvent
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderEvent, OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.orders import MarketOrder
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.simulated_time import check_time
from nautilus_torchserve.trading.checks import check_size, expect
from nautilus_torchserve.trading.decision import DECISIONS_TOPIC, HALT_TOPIC, Decision, Halt
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_topic
from nautilus_torchserve.wire.body import excerpt
from nautilus_torchserve.wire.errors import RequestError
from nautilus_torchserve.wire.output_constraints import OutputConstraints

RETRY_NS = 1_000_000_000
"""Time until a refused closing order is sent again (nanoseconds)."""
_CLOSE_AGAIN = "close-again"
_OK, _DEGRADED = Status.OK, Status.DEGRADED  # looked up with every prediction


class PredictionStrategyConfig(StrategyConfig, kw_only=True, frozen=True):
    """Configuration for a `PredictionStrategy`.

    Parameters
    ----------
    instrument_id : InstrumentId
        The instrument to trade.
    trade_size : Decimal
        The size of the position to hold, long or short (base currency).
    max_age_ns : int
        Predictions whose newest event is older than this when they arrive are not traded on (nanoseconds).
        Counts from the venue's time, so transport from the venue is included: 300 ms in some recordings.
    max_position : Decimal, optional
        Orders that would leave a larger position are not sent, long or short (base currency).
    on_failure : str
        The reaction to a missing response. ``hold``: nothing, the position stays as it is. ``flatten``: close
        the position once there has been no good prediction for ``failure_grace_ns``. ``last_good``: trade on the
        last good prediction until it is older than ``last_good_ns``.
    failure_grace_ns : int
        See ``flatten`` (nanoseconds).
    last_good_ns : int
        See ``last_good`` (nanoseconds).
    close_on_stop : bool
        If the position is closed when the strategy is stopped.
    """

    instrument_id: InstrumentId
    trade_size: Decimal
    max_age_ns: int = 1_000_000_000
    max_position: Decimal | None = None
    on_failure: Literal["hold", "flatten", "last_good"] = "hold"
    failure_grace_ns: int = 1_000_000_000
    last_good_ns: int = 5_000_000_000
    close_on_stop: bool = True

    def __post_init__(self) -> None:
        expect(self.trade_size > 0, f"trade_size above 0, got {self.trade_size}")
        expect(self.max_age_ns >= 1, f"max_age_ns of at least 1, got {self.max_age_ns}")
        expect(
            self.max_position is None or self.max_position >= self.trade_size,
            f"max_position of at least trade_size = {self.trade_size}, got {self.max_position}",
        )
        modes = ("hold", "flatten", "last_good")
        expect(self.on_failure in modes, f"on_failure of {', '.join(modes)}, got {self.on_failure!r}")
        expect(self.failure_grace_ns >= 0, f"failure_grace_ns of at least 0, got {self.failure_grace_ns}")
        expect(self.last_good_ns >= 1, f"last_good_ns of at least 1, got {self.last_good_ns}")

    @classmethod
    def complete_fields(cls, fields: dict[str, Any], metadata: ModelMetadata) -> dict[str, Any]:
        """Return a config's fields, completed by those that follow from the model's metadata."""
        return fields


class _Sent(NamedTuple):
    """The order that was sent on the prediction at hand."""

    side: OrderSide
    quantity: Decimal
    client_order_id: ClientOrderId


class PredictionStrategy(Strategy):
    """Subscribes to an instrument's predictions; a subclass decides in `act_on` what to do about one.

    There is never more than one order in flight. After a `Halt` the position is closed, and stays so.

    A prediction whose values violate the constraints (`required`), or are not finite, is not acted on, whatever
    its publisher: it is counted, logged, and not a good prediction, so that ``on_failure`` applies.

    Parameters
    ----------
    config : PredictionStrategyConfig
    """

    required = OutputConstraints()
    """Constraints of a prediction's outputs; the others must be finite numbers."""

    def __init__(self, config: PredictionStrategyConfig) -> None:
        super().__init__(config)
        self.in_flight: ClientOrderId | None = None
        """The order that is not closed yet; there is at most one."""
        self.halted = ""
        """Reason of the halt; empty while it trades."""
        self.handler_errors = 0
        """Exceptions in its handlers in a live run; each was logged."""
        self.invalid_predictions = 0
        """Predictions with invalid values, which were not traded on."""
        self._instrument: Instrument | None = None
        self._newest_ts = 0
        self._good_until_ns = 0
        self._publishes_decisions = False
        self._sent: _Sent | None = None

    def on_start(self) -> None:
        self._instrument = self.cache.instrument(self.config.instrument_id)
        if self._instrument is None:
            self.log.error(f"expected {self.config.instrument_id} in the cache, got none")
            self.stop()
            return
        check_size(self.config.trade_size, self._instrument)
        self._good_until_ns = self.clock.timestamp_ns() + self.config.failure_grace_ns
        self._publishes_decisions = self.msgbus.has_subscribers(DECISIONS_TOPIC)
        self.msgbus.subscribe(topic=prediction_topic(self.config.instrument_id), handler=self.handle_data)
        self.msgbus.subscribe(topic=HALT_TOPIC, handler=self._on_halt)

    def on_stop(self) -> None:
        self.msgbus.unsubscribe(topic=prediction_topic(self.config.instrument_id), handler=self.handle_data)
        self.msgbus.unsubscribe(topic=HALT_TOPIC, handler=self._on_halt)
        if _CLOSE_AGAIN in self.clock.timer_names:
            self.clock.cancel_timer(_CLOSE_AGAIN)
        if self.invalid_predictions:
            self.log.warning(f"{self.invalid_predictions} invalid predictions were not traded on")
        if self.config.close_on_stop:
            self.close_all_positions(self.config.instrument_id)

    @isolate_errors
    def on_data(self, data: Prediction) -> None:
        """Act on a prediction, and publish the decision where there are subscribers."""
        check_time(self.clock, self.cache, self.config.instrument_id)
        if not self._publishes_decisions:
            if not self._refusal(data):
                self.act_on(data)
            return
        position = self.portfolio.net_position(self.config.instrument_id)
        self._sent = None
        why = self._refusal(data) or self.act_on(data)
        self.msgbus.publish(topic=DECISIONS_TOPIC, msg=self._decision(data, position, why))

    def act_on(self, prediction: Prediction) -> str:
        """Act on a prediction that may be traded on; return the reason of what was done."""
        raise NotImplementedError

    def _refusal(self, prediction: Prediction) -> str:
        """Return why a prediction is not acted on; empty where it is."""
        now_ns = self.clock.timestamp_ns()
        if self.halted:
            return f"halted: {self.halted}"
        why = self._invalid(prediction)
        if why:
            self._count_invalid(why)
            return self._on_failure(prediction, now_ns, why) if self.config.on_failure == "flatten" else why
        if prediction.status == _OK:
            if prediction.feature_ts < self._newest_ts:
                return "a newer one came before it"
            self._newest_ts = prediction.feature_ts
            self._good_until_ns = now_ns + self.config.failure_grace_ns
            if now_ns - prediction.feature_ts > self.config.max_age_ns:
                return "older than max_age_ns"
        elif prediction.status == _DEGRADED:
            if (why := self._on_failure(prediction, now_ns, "no answer in time")) != "":
                return why
        else:
            return f"{prediction.status}"
        return "an order is in flight" if self.in_flight is not None else ""

    def _invalid(self, prediction: Prediction) -> str:
        """Return what is wrong with a prediction's fields; empty where nothing is."""
        try:
            if prediction.outputs or prediction.status != _DEGRADED:  # where a model has never answered there are none
                self.required.check_row(prediction.outputs)
        except RequestError as error:
            return f"invalid: {error}"
        if prediction.instrument_id != self.config.instrument_id:
            return f"invalid: expected a prediction about {self.config.instrument_id}, got {prediction.instrument_id}"
        try:
            is_right = 0 <= index(prediction.feature_ts) <= prediction.ts_event
        except TypeError:
            is_right = False
        if not is_right:
            got = f"{excerpt(prediction.feature_ts)} and {excerpt(prediction.ts_event)}"
            return f"invalid: expected feature_ts in Unix nanoseconds, not after ts_event, got {got}"
        return ""

    def _count_invalid(self, why: str) -> None:
        self.invalid_predictions += 1
        if self.invalid_predictions.bit_count() == 1:  # the 1st, 2nd, 4th, ...: a stream of them does not fill the log
            self.log.warning(f"Prediction {self.invalid_predictions} that is not traded on: {why}")

    def _on_failure(self, prediction: Prediction, now_ns: int, failure: str) -> str:
        """Return why the failure mode does not trade on a repeated or invalid prediction; empty where it does."""
        mode = self.config.on_failure
        if mode == "hold":
            return f"{failure}: hold"
        if mode == "last_good":
            if not prediction.outputs:
                return f"{failure}, and none before"
            if now_ns - prediction.feature_ts > self.config.last_good_ns:
                return f"{failure}, the last good one is older than last_good_ns"
            return ""
        if now_ns < self._good_until_ns:
            return f"{failure}: within failure_grace_ns"
        if self.in_flight is not None:
            return f"{failure}: an order is in flight"
        position = self.portfolio.net_position(self.config.instrument_id)
        if not position:
            return f"{failure}: flat"
        self.order(OrderSide.SELL if position > 0 else OrderSide.BUY, abs(position), prediction)
        return f"{failure}: flatten"

    def order(self, side: OrderSide, quantity: Decimal, prediction: Prediction) -> str:
        """Send a market order, tagged with the prediction that was the reason; return what became of it.

        While a version change is pending, the position is closed at most, not reversed: what comes after it is the next
        version's.
        """
        assert self._instrument is not None
        position = self.portfolio.net_position(self.config.instrument_id)
        if prediction.pending_version_change:
            against = position > 0 if side == OrderSide.SELL else position < 0
            quantity = min(quantity, abs(position)) if against else Decimal(0)
            if not quantity:
                return "its version is to change: nothing to close"
        after = abs(position + (quantity if side == OrderSide.BUY else -quantity))
        if self.config.max_position is not None and after > max(self.config.max_position, abs(position)):
            self.log.warning(f"No order: expected a position of at most {self.config.max_position}, got {after}")
            return "more than max_position"
        split = [f"split={prediction.split}"] if prediction.split else []
        order = self.order_factory.market(
            instrument_id=self.config.instrument_id,
            order_side=side,
            quantity=self._instrument.make_qty(quantity),
            tags=[
                f"model={prediction.model}",
                f"version={prediction.version}",
                f"digest={prediction.archive_digest[:12]}",
                f"feature_ts={prediction.feature_ts}",
                *split,
            ],
        )
        self._sent = _Sent(side, quantity, order.client_order_id)
        self._submit(order)
        return "ordered"

    def _submit(self, order: MarketOrder) -> None:
        check_time(self.clock, self.cache, order.instrument_id)
        self.in_flight = order.client_order_id
        self.submit_order(order)

    @isolate_errors
    def on_order_event(self, event: OrderEvent) -> None:
        order = self.cache.order(event.client_order_id)  # None while it is only initialised
        if order is not None and order.is_closed and order.client_order_id == self.in_flight:
            self.in_flight = None  # filled, denied, rejected, canceled or expired
            if self.halted:
                self._close(at_once=isinstance(event, OrderFilled))

    @isolate_errors
    def _on_halt(self, halt: Halt) -> None:
        """Close the position; an order in flight ends first."""
        if not self.halted and (halt.venue is None or halt.venue == self.config.instrument_id.venue):
            self.halted = halt.reason
            self.log.warning(f"Halted: {halt.reason}")
            self.cancel_all_orders(self.config.instrument_id)
            self._close(at_once=True)

    def _close(self, at_once: bool) -> None:
        position = self.portfolio.net_position(self.config.instrument_id)
        if not position or self.in_flight is not None:
            return
        if not at_once:  # it was refused: not again and again
            self.clock.set_time_alert_ns(_CLOSE_AGAIN, self.clock.timestamp_ns() + RETRY_NS, self._on_close_again)
            return
        assert self._instrument is not None
        order = self.order_factory.market(
            instrument_id=self.config.instrument_id,
            order_side=OrderSide.SELL if position > 0 else OrderSide.BUY,
            quantity=self._instrument.make_qty(abs(position)),
            reduce_only=True,
            tags=["halted"],
        )
        self._submit(order)

    @isolate_errors
    def _on_close_again(self, event: TimeEvent) -> None:
        self._close(at_once=True)

    def _decision(self, prediction: Prediction, position: Decimal, why: str) -> Decision:
        now_ns = self.clock.timestamp_ns()
        sent = self._sent
        return Decision(
            strategy_id=self.id.value,
            prediction=prediction,
            ts_ns=now_ns,
            age_ns=now_ns - prediction.feature_ts,
            position=position,
            side="" if sent is None else sent.side.name,
            quantity=Decimal(0) if sent is None else sent.quantity,
            client_order_id="" if sent is None else sent.client_order_id.value,
            why=why,
        )
