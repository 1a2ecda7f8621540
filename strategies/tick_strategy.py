"""Trades on what the tick model says: long on BUY, short on SELL, as it was on HOLD."""

from decimal import Decimal

from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderEvent
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from strategies.checks import expect
from strategies.prediction import Prediction, Status, prediction_topic


class TickStrategyConfig(StrategyConfig, frozen=True):
    """Configuration of `TickStrategy`.

    Parameters
    ----------
    instrument_id : InstrumentId
        What to trade.
    trade_size : Decimal
        Size of the position to hold, long or short (base currency).
    min_probability : float
        Least probability of BUY or SELL to act on, in (1/3, 1).
    cooldown_ns : int
        Least time between two orders (nanoseconds).
    max_age_ns : int
        Predictions whose newest event is older than this when they arrive are not traded on (nanoseconds).
        Counts from the venue's time, so the way from the venue is part of it: 300 ms in some recordings.
    """

    instrument_id: InstrumentId
    trade_size: Decimal
    min_probability: float = 0.45
    cooldown_ns: int = 1_000_000_000
    max_age_ns: int = 1_000_000_000

    def __post_init__(self) -> None:
        expect(self.trade_size > 0, f"trade_size above 0, was {self.trade_size}")
        expect(1 / 3 < self.min_probability < 1, f"min_probability in (1/3, 1), was {self.min_probability:g}")
        expect(self.cooldown_ns >= 0, f"cooldown_ns of at least 0, was {self.cooldown_ns}")
        expect(self.max_age_ns >= 1, f"max_age_ns of at least 1, was {self.max_age_ns}")


class TickStrategy(Strategy):
    """Turns the position with one market order whenever the model is sure of the other side.

    Parameters
    ----------
    config : TickStrategyConfig
    """

    def __init__(self, config: TickStrategyConfig) -> None:
        super().__init__(config)
        self.in_flight: ClientOrderId | None = None
        """The one order that is not closed yet; there is no second one beside it."""
        self._instrument: Instrument | None = None
        self._next_order_ns = 0

    def on_start(self) -> None:
        self._instrument = self.cache.instrument(self.config.instrument_id)
        if self._instrument is None:
            self.log.error(f"{self.config.instrument_id} in the cache expected, was missing")
            self.stop()
            return
        self.msgbus.subscribe(topic=prediction_topic(self.config.instrument_id), handler=self.handle_data)

    def on_data(self, data: Prediction) -> None:
        now = self.clock.timestamp_ns()
        if data.status != Status.OK or now - data.feature_ts > self.config.max_age_ns:
            return
        if self.in_flight is not None or now < self._next_order_ns:
            return
        likeliest = max(data.outputs, key=data.outputs.__getitem__)
        if data.outputs[likeliest] < self.config.min_probability:
            return
        position = self.portfolio.net_position(self.config.instrument_id)
        if likeliest == "buy" and position <= 0:
            self._order(OrderSide.BUY, self.config.trade_size - position, data)
        elif likeliest == "sell" and position >= 0:
            self._order(OrderSide.SELL, self.config.trade_size + position, data)

    def on_order_event(self, event: OrderEvent) -> None:
        order = self.cache.order(event.client_order_id)  # None while it is only initialised
        if order is not None and order.is_closed and order.client_order_id == self.in_flight:
            self.in_flight = None  # filled, denied, rejected, canceled or expired

    def on_stop(self) -> None:
        self.msgbus.unsubscribe(topic=prediction_topic(self.config.instrument_id), handler=self.handle_data)
        self.close_all_positions(self.config.instrument_id)

    def _order(self, side: OrderSide, quantity: Decimal, prediction: Prediction) -> None:
        assert self._instrument is not None
        order = self.order_factory.market(
            instrument_id=self.config.instrument_id,
            order_side=side,
            quantity=self._instrument.make_qty(quantity),
            tags=[
                f"model={prediction.model}",
                f"version={prediction.version}",
                f"digest={prediction.archive_digest[:12]}",
            ],
        )
        self.in_flight = order.client_order_id
        self._next_order_ns = self.clock.timestamp_ns() + self.config.cooldown_ns
        self.submit_order(order)
