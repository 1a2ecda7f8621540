"""What strategies on predictions share: which predictions count, one order in flight, whose word it was sent on."""

from decimal import Decimal

from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderEvent
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from strategies.checks import expect
from strategies.prediction import Prediction, Status, prediction_topic


class PredictionStrategyConfig(StrategyConfig, kw_only=True, frozen=True):
    """Configuration of a `PredictionStrategy`.

    Parameters
    ----------
    instrument_id : InstrumentId
        What to trade.
    trade_size : Decimal
        Size of the position to hold, long or short (base currency).
    max_age_ns : int
        Predictions whose newest event is older than this when they arrive are not traded on (nanoseconds).
        Counts from the venue's time, so the way from the venue is part of it: 300 ms in some recordings.
    """

    instrument_id: InstrumentId
    trade_size: Decimal
    max_age_ns: int = 1_000_000_000

    def __post_init__(self) -> None:
        expect(self.trade_size > 0, f"trade_size above 0, was {self.trade_size}")
        expect(self.max_age_ns >= 1, f"max_age_ns of at least 1, was {self.max_age_ns}")


class PredictionStrategy(Strategy):
    """Subscribes to an instrument's predictions; a subclass says in ``on_data`` what to do about one.

    Parameters
    ----------
    config : PredictionStrategyConfig
    """

    def __init__(self, config: PredictionStrategyConfig) -> None:
        super().__init__(config)
        self.in_flight: ClientOrderId | None = None
        """The one order that is not closed yet; there is no second one beside it."""
        self._instrument: Instrument | None = None

    def on_start(self) -> None:
        self._instrument = self.cache.instrument(self.config.instrument_id)
        if self._instrument is None:
            self.log.error(f"{self.config.instrument_id} in the cache expected, was missing")
            self.stop()
            return
        self.msgbus.subscribe(topic=prediction_topic(self.config.instrument_id), handler=self.handle_data)

    def on_order_event(self, event: OrderEvent) -> None:
        order = self.cache.order(event.client_order_id)  # None while it is only initialised
        if order is not None and order.is_closed and order.client_order_id == self.in_flight:
            self.in_flight = None  # filled, denied, rejected, canceled or expired

    def on_stop(self) -> None:
        self.msgbus.unsubscribe(topic=prediction_topic(self.config.instrument_id), handler=self.handle_data)
        self.close_all_positions(self.config.instrument_id)

    def may_trade_on(self, prediction: Prediction) -> bool:
        """Whether it was answered by the model asked for, is young enough, and no order is in flight."""
        age_ns = self.clock.timestamp_ns() - prediction.feature_ts
        return prediction.status == Status.OK and age_ns <= self.config.max_age_ns and self.in_flight is None

    def order(self, side: OrderSide, quantity: Decimal, prediction: Prediction) -> None:
        """Send a market order, tagged with the prediction that was the reason.

        On a prediction of a version that the instrument is leaving, the position is closed at most, not turned: what
        comes after it is the next version's.
        """
        assert self._instrument is not None
        if prediction.leaving:
            position = self.portfolio.net_position(self.config.instrument_id)
            against = position > 0 if side == OrderSide.SELL else position < 0
            quantity = min(quantity, abs(position)) if against else Decimal(0)
            if not quantity:
                return
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
        self.in_flight = order.client_order_id
        self.submit_order(order)
