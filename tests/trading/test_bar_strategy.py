"""The bar strategy: entries, holding, turns and exits."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from nautilus_trader.model.identifiers import InstrumentId
from small_trades import MS, START
from trading_support import SIZE, Traded, trade

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import Instrument
from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects, bar_quote_ticks
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.prediction import Prediction, Status
from strategies.bar_strategy import BarStrategy, BarStrategyConfig

MINUTE = 60 * 10**9
LATENCY = 10 * MS
TURN = 2 * SIZE
INSTRUMENT = Instrument("BTCUSDT", "BINANCE", 2, 3)


def minute_bars(closes_at: Sequence[int]) -> Bars:
    """Bars that close at these minutes after `START`, each opening a cent above its predecessor's close."""
    count = len(closes_at)
    open_ = np.arange(count) * 101 + 5_000_000
    return Bars(
        instrument=INSTRUMENT,
        source="minute bars",
        simulated=True,
        interval_ns=MINUTE,
        ts_event=START + np.array(closes_at, dtype=np.int64) * MINUTE,
        open=open_,
        high=open_ + 100,
        low=open_,
        close=open_ + 100,
        volume=np.full(count, 1_000),
    )


TEN = minute_bars(range(1, 11))


def predict(
    minute: int, return_bps: float, confidence: float = 0.6, age_ns: int = LATENCY, status: Status = Status.OK
) -> Prediction:
    """Return a prediction on the bar that closed ``minute`` minutes after `START`."""
    closed = START + minute * MINUTE
    return Prediction(
        ts_event=closed,
        ts_init=closed + age_ns,
        instrument_id=InstrumentId.from_str(INSTRUMENT.instrument_id),
        model="price",
        version="1.0",
        archive_digest="0123456789abcdef",
        outputs={"price": 50_000.0, "return_bps": return_bps, "sigma_bps": 5.0, "confidence": confidence},
        feature_ts=closed,
        latency_ns=100_000,
        status=status,
    )


def trade_on(predictions: Sequence[Prediction], bars: Bars = TEN, **options: Any) -> Traded:
    """Run the strategy on predictions fed in as data, with no spread, and costs of 2 bps by default."""
    instrument = perpetual(bars.instrument, fee_bps=0.0)
    engine_options = {name: options.pop(name) for name in ("order_latency_ns",) if name in options}
    config = BarStrategyConfig(
        instrument_id=instrument.id, trade_size=SIZE, **{"horizon_ns": MINUTE, "cost_bps": 2.0, **options}
    )
    data = [bar_objects(bars, bar_type(instrument.id, MINUTE)), bar_quote_ticks(bars, instrument, 0.0)]
    return trade(BarStrategy(config), instrument, data, predictions, **engine_options)


def minutes(traded: Traded) -> list[float]:
    """Return when each order was sent, in minutes after `START`, less the latency."""
    return [(at - LATENCY // MS) / 60_000 for at in traded.times_ms()]


def test_long_above_the_costs_and_short_below() -> None:
    assert trade_on([predict(1, 3.0)]).sides()[0] == ("BUY", SIZE)
    assert trade_on([predict(1, -3.0)]).sides()[0] == ("SELL", SIZE)


@pytest.mark.parametrize(("return_bps", "orders"), [(2.001, 1), (2.0, 0), (-2.0, 0), (-2.001, 1), (0.0, 0)])
def test_enters_only_above_the_costs(return_bps: float, orders: int) -> None:
    assert len(trade_on([predict(9, return_bps)]).sides()) == orders


@pytest.mark.parametrize(("confidence", "orders"), [(0.55, 1), (0.549, 0)])
def test_enters_from_the_least_confidence_on(confidence: float, orders: int) -> None:
    assert len(trade_on([predict(9, 3.0, confidence)], min_confidence=0.55).sides()) == orders


def test_a_horizon_after_its_bar_a_position_is_closed() -> None:
    predictions = [predict(1, 3.0), predict(2, 0.5), predict(3, 0.5)]

    traded = trade_on(predictions)

    assert traded.sides() == [("BUY", SIZE), ("SELL", SIZE)]
    assert minutes(traded) == [1, 2]


def test_a_weak_prediction_within_the_horizon_changes_nothing() -> None:
    predictions = [predict(1, -3.0), predict(2, -0.5), predict(3, 0.5), predict(4, 0.5)]

    traded = trade_on(predictions, horizon_ns=3 * MINUTE)

    assert traded.sides() == [("SELL", SIZE), ("BUY", SIZE)]
    assert minutes(traded) == [1, 4]


def test_a_signal_in_its_direction_renews_the_position() -> None:
    predictions = [predict(1, 3.0), predict(2, 3.0), predict(3, 3.0), predict(4, 0.0)]

    assert minutes(trade_on(predictions)) == [1, 4]


def test_a_signal_against_it_turns_the_position_with_one_order() -> None:
    predictions = [predict(1, 3.0), predict(2, -3.0), predict(3, 3.0)]

    assert trade_on(predictions, horizon_ns=20 * MINUTE).sides() == [("BUY", SIZE), ("SELL", TURN), ("BUY", TURN)]


def test_an_opposite_sign_within_the_costs_does_not_turn_it() -> None:
    predictions = [predict(1, 3.0), predict(2, -1.9)]

    assert trade_on(predictions, horizon_ns=20 * MINUTE).sides() == [("BUY", SIZE)]


@pytest.mark.parametrize(("max_age_ns", "minute"), [(MINUTE - 1, 3), (MINUTE, 4)])
def test_without_predictions_it_leaves_with_the_first_quote_after_none_could_be_young_enough(
    max_age_ns: int, minute: int
) -> None:
    traded = trade_on([predict(1, 3.0)], max_age_ns=max_age_ns)

    assert traded.sides() == [("BUY", SIZE), ("SELL", SIZE)]
    assert traded.orders[1].ts_init == traded.orders[1].ts_last == START + minute * MINUTE


def test_where_markets_close_it_waits_for_the_next_bar() -> None:
    bars = minute_bars([1, 2, 60, 61, 62])
    predictions = [predict(2, 3.0), predict(60, 0.0)]

    traded = trade_on(predictions, bars, closed_market_ns=60 * MINUTE)

    assert minutes(traded) == [2, 60]


def test_a_prediction_of_the_horizons_end_renews_it_to_the_last_nanosecond() -> None:
    predictions = [predict(1, 3.0), predict(2, 3.0, age_ns=500 * MS), predict(3, 0.0)]

    assert minutes(trade_on(predictions, max_age_ns=500 * MS)) == [1, 3]


@pytest.mark.parametrize(("age_ns", "orders"), [(50 * MS, 1), (50 * MS + 1, 0)])
def test_old_predictions_are_not_traded_on(age_ns: int, orders: int) -> None:
    assert len(trade_on([predict(9, 3.0, age_ns=age_ns)], max_age_ns=50 * MS).sides()) == orders


@pytest.mark.parametrize("status", [Status.DEGRADED, Status.SUPERSEDED])
def test_only_ok_predictions_are_traded_on(status: Status) -> None:
    assert trade_on([predict(1, 3.0, status=status)]).sides() == []


def test_one_order_in_flight() -> None:
    predictions = [predict(1, 3.0), predict(2, -3.0), predict(3, -3.0)]

    traded = trade_on(predictions, order_latency_ns=90 * 1000 * MS, horizon_ns=20 * MINUTE)

    assert traded.sides() == [("BUY", SIZE), ("SELL", TURN)]
    assert minutes(traded) == [1, 3]


def test_a_position_whose_horizon_ended_before_its_order_filled_is_closed_at_once() -> None:
    traded = trade_on([predict(1, 3.0)], order_latency_ns=90 * 1000 * MS, max_age_ns=20_000 * MS)

    entry, leaving = traded.orders[:2]
    assert (entry.side.name, leaving.side.name) == ("BUY", "SELL")
    assert leaving.ts_init == entry.ts_last > START + 2 * MINUTE + 20_000 * MS
    assert traded.positions_open == 0


def test_an_order_after_a_close_fills_at_the_next_bars_open_and_one_step_worse() -> None:
    traded = trade_on([predict(1, 3.0)])

    assert traded.orders[0].avg_px == pytest.approx((TEN.open[1] + 1) / 100, abs=1e-9)


def test_an_order_before_a_break_fills_at_the_last_close() -> None:
    bars = minute_bars([1, 2, 60, 61])

    traded = trade_on([predict(2, 3.0), predict(60, 0.0)], bars)

    assert traded.orders[0].avg_px == pytest.approx((bars.close[1] + 1) / 100, abs=1e-9)


def test_a_position_whose_horizon_ends_in_a_break_is_closed_at_the_next_open() -> None:
    bars = minute_bars([1, 2, 60, 61])

    leaving = trade_on([predict(2, 3.0), predict(60, 0.0)], bars).orders[1]

    assert leaving.avg_px == pytest.approx((bars.open[2] - 1) / 100, abs=1e-9)
    assert leaving.ts_init == leaving.ts_last == START + 59 * MINUTE


def test_orders_are_tagged_with_their_model() -> None:
    traded = trade_on([predict(1, 3.0)])

    tags = ["model=price", "version=1.0", "digest=0123456789ab", "feature_ts=1700000060000000000"]
    assert [order.tags for order in traded.orders] == [tags] * 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trade_size": Decimal(0)}, "expected trade_size above 0, got 0"),
        ({"min_confidence": 0.49}, r"expected min_confidence in \[0.5, 1\), got 0.49"),
        ({"min_confidence": 1.0}, "got 1"),
        ({"cost_bps": -1.0}, "expected cost_bps of at least 0, got -1"),
        ({"closed_market_ns": -1}, "expected closed_market_ns of at least 0, got -1"),
        ({"horizon_ns": 0}, "expected horizon_ns of at least 1, got 0"),
        ({"max_age_ns": 0}, "expected max_age_ns of at least 1, got 0"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    good = {"instrument_id": InstrumentId.from_str("A.B"), "trade_size": Decimal(1), "horizon_ns": 1}

    with pytest.raises(BadSetting, match=message):
        BarStrategyConfig(**{**good, **wrong})
