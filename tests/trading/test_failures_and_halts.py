"""Strategies without timely responses, halts, and published decisions."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.enums import OrderSide, OrderStatus
from small_trades import MS, START
from trading_support import SIZE, Traded, trade

from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.decision import DECISIONS_TOPIC, HALT_TOPIC, Decision, Halt
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.prediction import Prediction, Status
from strategies.tick_strategy import TickStrategy, TickStrategyConfig

Predict = Callable[..., Prediction]
TradeOn = Callable[..., Traded]
BUY, SELL = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)


class Listener(Actor):
    """Keeps the decisions; halts at a time where one is given."""

    def __init__(self, halt_at_ms: int | None = None) -> None:
        super().__init__(ActorConfig())
        self.decisions: list[Decision] = []
        self._halt_at_ms = halt_at_ms

    def on_start(self) -> None:
        self.msgbus.subscribe(topic=DECISIONS_TOPIC, handler=self.decisions.append)
        if self._halt_at_ms is not None:
            self.clock.set_time_alert_ns("halt", START + self._halt_at_ms * MS, self._halt)

    def _halt(self, event: TimeEvent) -> None:
        self.msgbus.publish(topic=HALT_TOPIC, msg=Halt("a test", event.ts_event))


@pytest.fixture
def degraded(predict: Predict) -> Callable[..., Prediction]:
    """A prediction that repeats what was good ``age_ms`` before it arrives."""

    def make(at_ms: float, *outputs: float, age_ms: float) -> Prediction:
        return predict(at_ms, *outputs, age_ns=int(age_ms * MS), status=Status.DEGRADED)

    return make


def test_hold_does_nothing_without_a_response(trade_on: TradeOn, predict: Predict, degraded: Predict) -> None:
    traded = trade_on([predict(1000, *BUY), degraded(9000, *SELL, age_ms=8000)], on_failure="hold")

    assert traded.sides() == [("BUY", SIZE)]


def test_flatten_closes_after_the_grace_and_resumes_once_the_model_responds(
    trade_on: TradeOn, predict: Predict, degraded: Predict
) -> None:
    predictions = [
        predict(1000, *BUY),
        *(degraded(at, *BUY, age_ms=at - 1000) for at in (2000, 2999, 3000, 3100)),
        predict(6000, *SELL),
    ]

    traded = trade_on(predictions, on_failure="flatten", failure_grace_ns=2000 * MS)

    assert traded.sides() == [("BUY", SIZE), ("SELL", SIZE), ("SELL", SIZE)]
    assert traded.times_ms() == [1000, 3000, 6000]


@pytest.mark.parametrize(("age_ms", "orders"), [(2000, 2), (2001, 1)])
def test_the_last_good_prediction_is_traded_on_until_its_limit(
    trade_on: TradeOn, predict: Predict, degraded: Predict, age_ms: float, orders: int
) -> None:
    predictions = [predict(1000, *BUY), degraded(1000 + age_ms, *SELL, age_ms=age_ms)]

    traded = trade_on(predictions, on_failure="last_good", last_good_ns=2000 * MS, max_age_ns=5 * MS)

    assert len(traded.sides()) == orders


def test_model_without_any_response_has_no_last_good_prediction(trade_on: TradeOn, predict: Predict) -> None:
    never = predict(1000, *BUY, status=Status.DEGRADED)
    never.outputs = {}

    assert trade_on([never], on_failure="last_good").sides() == []


def test_prediction_older_than_the_last_one_is_not_traded_on(trade_on: TradeOn, predict: Predict) -> None:
    newer, older = predict(1000, *BUY, age_ns=2 * MS), predict(3000, *SELL, age_ns=2003 * MS)

    assert trade_on([newer, older], max_age_ns=10_000 * MS).sides() == [("BUY", SIZE)]


class Doubling(TickStrategy):
    """Adds to its position with each prediction."""

    def act_on(self, prediction: Prediction) -> str:
        return self.order(OrderSide.BUY, self.config.trade_size, prediction)


def test_no_order_leaves_more_than_the_largest_position(small_market: Trades, predict: Predict) -> None:
    instrument = perpetual(small_market.instrument, fee_bps=0.0)
    config = TickStrategyConfig(instrument_id=instrument.id, trade_size=SIZE, max_position=2 * SIZE)
    predictions = [predict(at, *BUY) for at in (1000, 2000, 3000, 4000)]
    listener = Listener()
    data = [trade_ticks(small_market), quote_ticks(small_market)]

    traded = trade(Doubling(config), instrument, data, predictions, actors=[listener])

    assert traded.sides() == [("BUY", SIZE), ("BUY", SIZE)]
    assert [decision.why for decision in listener.decisions] == ["ordered"] * 2 + ["more than max_position"] * 2


def test_a_largest_position_below_the_trade_size_is_refused(trade_on: TradeOn, predict: Predict) -> None:
    with pytest.raises(BadSetting, match=r"expected max_position of at least trade_size = 0\.010, got 0\.001"):
        trade_on([], max_position=Decimal("0.001"))


def test_a_halt_closes_the_position_and_ends_trading(trade_on: TradeOn, predict: Predict) -> None:
    listener = Listener(halt_at_ms=2500)

    traded = trade_on([predict(1000, *BUY), predict(4000, *SELL)], actors=[listener])

    assert [(order.side.name, order.ts_init) for order in traded.orders] == [
        ("BUY", START + 1000 * MS),
        ("SELL", START + 2500 * MS),
    ]
    assert traded.positions_open == 0
    assert [decision.why for decision in listener.decisions] == ["ordered", "halted: a test"]


def test_a_halt_waits_for_the_order_in_flight_and_closes_what_it_opened(trade_on: TradeOn, predict: Predict) -> None:
    traded = trade_on([predict(1000, *BUY)], actors=[Listener(halt_at_ms=1200)], order_latency_ns=500 * MS)

    assert [order.status for order in traded.orders] == [OrderStatus.FILLED, OrderStatus.FILLED]
    assert [(order.ts_init - START) // MS >= at for order, at in zip(traded.orders, (1000, 1500), strict=True)]
    assert traded.positions_open == 0


def test_a_closing_order_that_is_denied_is_sent_again(trade_on: TradeOn, predict: Predict) -> None:
    listener = Listener(halt_at_ms=1100)

    traded = trade_on([predict(1000, *BUY)], actors=[listener], submit_rate="1/00:00:03")

    opened, *denied, closed = traded.orders
    assert (opened.status, {order.status for order in denied}, closed.status) == (
        OrderStatus.FILLED,
        {OrderStatus.DENIED},
        OrderStatus.FILLED,
    )
    sent_ms = [(order.ts_init - START) // MS for order in (*denied, closed)]
    assert sent_ms == [1100 + 1000 * number for number in range(len(sent_ms))]
    assert traded.positions_open == 0


def test_each_decision_is_published_with_its_reason(trade_on: TradeOn, predict: Predict) -> None:
    listener = Listener()
    predictions = [predict(1000, *BUY), predict(1100, *SELL), predict(3000, *BUY), predict(4000, 0.4, 0.3, 0.3)]

    traded = trade_on(predictions, actors=[listener])

    assert [decision.why for decision in listener.decisions] == [
        "ordered",
        "within cooldown_ns of the last order",
        "buy: nothing to do",
        "below min_probability",
    ]
    ordered, later = listener.decisions[:2]
    assert (ordered.side, ordered.quantity, ordered.position) == ("BUY", SIZE, 0)
    assert (later.side, later.quantity, later.position) == ("", 0, SIZE)
    assert ordered.client_order_id == traded.orders[0].client_order_id.value
    assert (ordered.age_ns, ordered.ts_ns) == (MS, START + 1000 * MS)
    assert ordered.prediction is predictions[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"on_failure": "pray"}, "expected on_failure of hold, flatten, last_good, got 'pray'"),
        ({"last_good_ns": 0}, "expected last_good_ns of at least 1, got 0"),
        ({"failure_grace_ns": -1}, "expected failure_grace_ns of at least 0, got -1"),
    ],
)
def test_invalid_settings_are_refused(small_market: Trades, wrong: dict, message: str) -> None:
    settings = {"instrument_id": f"{small_market.instrument.instrument_id}", "trade_size": SIZE, **wrong}

    with pytest.raises(BadSetting, match=message):
        TickStrategyConfig(**settings)
