"""The tick strategy: when it trades, how much, and when it does not."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from nautilus_trader.model.enums import OrderStatus
from nautilus_trader.model.identifiers import InstrumentId
from small_trades import MS
from trading_support import SIZE, Traded

from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.prediction import Prediction, Status
from strategies.tick_strategy import TickStrategyConfig

Predict = Callable[..., Prediction]
TradeOn = Callable[..., Traded]
BUY, SELL, HOLD = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)
S = 1000


def test_turns_with_one_order_and_keeps_what_it_holds(trade_on: TradeOn, predict: Predict) -> None:
    probabilities = [BUY, BUY, SELL, SELL, HOLD, BUY]

    traded = trade_on([predict(1000 + 1100 * number, *probabilities[number]) for number in range(len(probabilities))])

    assert traded.sides() == [("BUY", SIZE), ("SELL", 2 * SIZE), ("BUY", 2 * SIZE)]
    assert traded.times_ms() == [1000, 3200, 6500]


def test_goes_short_from_flat_and_not_on_hold(trade_on: TradeOn, predict: Predict) -> None:
    assert trade_on([predict(1 * S, *HOLD), predict(2 * S, *SELL)]).sides() == [("SELL", SIZE)]


def test_closes_its_position_at_the_end(trade_on: TradeOn, predict: Predict) -> None:
    traded = trade_on([predict(1 * S, *BUY)])

    assert [order.side.name for order in traded.orders] == ["BUY", "SELL"]
    assert traded.orders[1].status == OrderStatus.FILLED
    assert traded.positions_open == 0


@pytest.mark.parametrize(
    ("outputs", "orders"),
    [((0.6, 0.2, 0.2), 1), ((0.5999, 0.2, 0.2001), 0), ((0.2, 0.6, 0.2), 1), ((0.35, 0.05, 0.6), 0)],
)
def test_acts_from_the_least_probability_on(
    trade_on: TradeOn, predict: Predict, outputs: tuple[float, float, float], orders: int
) -> None:
    assert len(trade_on([predict(1 * S, *outputs)], min_probability=0.6).sides()) == orders


def test_the_likeliest_class_decides_below_one_half(trade_on: TradeOn, predict: Predict) -> None:
    probabilities = [(0.36, 0.40, 0.24), (0.36, 0.25, 0.39)]

    traded = trade_on([predict(1 * S, *probabilities[0]), predict(3 * S, *probabilities[1])], min_probability=0.35)

    assert traded.sides() == [("SELL", SIZE)]


def test_waits_for_the_cooldown_to_end(trade_on: TradeOn, predict: Predict) -> None:
    predictions = [predict(1000, *BUY), predict(1999, *SELL), predict(2000, *SELL)]

    assert trade_on(predictions, cooldown_ns=S * MS).times_ms() == [1000, 2000]


@pytest.mark.parametrize(("age_ns", "orders"), [(5 * MS, 1), (5 * MS + 1, 0)])
def test_old_predictions_are_not_traded_on(trade_on: TradeOn, predict: Predict, age_ns: int, orders: int) -> None:
    assert len(trade_on([predict(1 * S, *BUY, age_ns=age_ns)], max_age_ns=5 * MS).sides()) == orders


@pytest.mark.parametrize("status", [Status.DEGRADED, Status.SUPERSEDED])
def test_only_ok_predictions_are_traded_on(trade_on: TradeOn, predict: Predict, status: Status) -> None:
    assert trade_on([predict(1 * S, *BUY, status=status)]).sides() == []


def test_one_order_in_flight(trade_on: TradeOn, predict: Predict) -> None:
    burst = [predict(1000 + number, *(BUY if number % 2 else SELL)) for number in range(0, 700, 7)]

    traded = trade_on(burst, order_latency_ns=500 * MS, cooldown_ns=0)

    sent, filled = traded.times_ms(), [(order.ts_last - order.ts_init) // MS for order in traded.orders if order.tags]
    assert len(sent) == 2
    assert sent[1] - sent[0] >= filled[0] >= 500


def test_a_denied_order_is_not_in_flight_any_more(trade_on: TradeOn, predict: Predict) -> None:
    probabilities = [predict(1 * S, *BUY), predict(3 * S, *SELL), predict(5 * S, *SELL)]

    traded = trade_on(probabilities, submit_rate="1/01:00:00")

    assert [order.status for order in traded.orders[:3]] == [OrderStatus.FILLED, OrderStatus.DENIED, OrderStatus.DENIED]
    assert traded.strategy.in_flight is None


@pytest.mark.parametrize(
    ("probabilities", "price"),
    [(BUY, 50_000.10 + 0.01), (SELL, 50_000.09 - 0.01)],  # trade 10, a buyer's, and 9, a seller's; not 11 at 1100 ms
)
def test_fills_one_step_worse_than_the_quotes_known_then(
    trade_on: TradeOn, predict: Predict, probabilities: tuple[float, float, float], price: float
) -> None:
    assert trade_on([predict(1050, *probabilities)]).orders[0].avg_px == pytest.approx(price, abs=1e-6)


def test_orders_are_tagged_with_their_model(trade_on: TradeOn, predict: Predict) -> None:
    order = trade_on([predict(1 * S, *BUY)]).orders[0]

    assert order.tags == ["model=tick", "version=1.0", "digest=0123456789ab", "feature_ts=1700000000999000000"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trade_size": Decimal(0)}, "expected trade_size above 0, got 0"),
        ({"min_probability": 1 / 3}, r"expected min_probability in \(1/3, 1\), got 0.333"),
        ({"min_probability": 1.0}, "got 1"),
        ({"cooldown_ns": -1}, "expected cooldown_ns of at least 0, got -1"),
        ({"max_age_ns": 0}, "expected max_age_ns of at least 1, got 0"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        TickStrategyConfig(**{"instrument_id": InstrumentId.from_str("A.B"), "trade_size": Decimal(1), **wrong})
