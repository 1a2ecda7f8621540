"""No order is placed on predictions with invalid values, whatever their publisher."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.model.identifiers import InstrumentId
from small_trades import MS
from trading_support import SIZE, Traded, trade

from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.prediction import Prediction, Status
from strategies.bar_strategy import BarStrategy, BarStrategyConfig
from strategies.news_bar_strategy import NewsBarStrategy, NewsBarStrategyConfig

Predict = Callable[..., Prediction]
TradeOn = Callable[..., Traded]
BUY, SELL = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)
BAR = {"price": 50_000.0, "return_bps": 9.0, "sigma_bps": 5.0, "confidence": 0.9}
NEWS = {**BAR, "sentiment_score": 0.5, "texts": 2.0}
GARBAGE: list[Any] = [math.nan, math.inf, -math.inf, 1e39, -0.1, 1.01, 7.0, "0.8", None, Decimal("NaN"), [0.8], 10**400]


DISTRIBUTION = {"buy": 0.8, "sell": 0.1, "hold": 0.1}
WRONG: list[dict[str, Any]] = [
    *({"outputs": {**DISTRIBUTION, name: value}} for name in DISTRIBUTION for value in GARBAGE),
    *({"outputs": outputs} for outputs in (
        {}, {"buy": 1.0}, {"BUY": 0.8, "sell": 0.1, "hold": 0.1}, dict.fromkeys(DISTRIBUTION, 1.0),
        dict.fromkeys(DISTRIBUTION, 0.5), {"buy": 0.8, "sell": 0.0, "hold": 0.0}, {**DISTRIBUTION, "more": math.nan},
        None, [0.8, 0.1, 0.1],
    )),
    {"instrument_id": InstrumentId.from_str("OTHER.SIM")},
    *({"feature_ts": value} for value in (2**62, math.nan, None, -1, "1")),
]  # fmt: skip


def test_no_order_on_a_prediction_that_no_model_can_mean(trade_on: TradeOn, predict: Predict) -> None:
    """Nor does one of them stand in the way of the next that is right."""
    wrong = [predict(1000 + 50 * number, *BUY) for number in range(len(WRONG))]
    for prediction, fields in zip(wrong, WRONG, strict=True):
        for name, value in fields.items():
            setattr(prediction, name, value)

    traded = trade_on([*wrong, predict(1000 + 50 * len(wrong), *SELL)])

    assert traded.times_ms() == [1000 + 50 * len(wrong)]
    assert traded.strategy.invalid_predictions == len(wrong)


def test_outputs_beside_those_of_the_rule_do_not_decide(trade_on: TradeOn, predict: Predict) -> None:
    more = predict(1000, *BUY)
    more.outputs["volatility"] = 99.0

    assert trade_on([more]).sides() == [("BUY", SIZE)]


def test_garbage_is_no_good_prediction_where_a_position_is_to_be_closed_without_one(
    trade_on: TradeOn, predict: Predict
) -> None:
    predictions = [predict(1000, *BUY), *(predict(at, math.nan, 0.0, 0.0) for at in range(2000, 6000, 500))]

    traded = trade_on(predictions, on_failure="flatten", failure_grace_ns=2000 * MS)

    assert list(zip(traded.times_ms(), traded.sides(), strict=True)) == [(1000, ("BUY", SIZE)), (3000, ("SELL", SIZE))]


def test_garbage_that_claims_to_be_the_last_good_one_is_not_traded_on(trade_on: TradeOn, predict: Predict) -> None:
    repeated = predict(1000, 1.0, 1.0, 1.0, status=Status.DEGRADED)

    assert trade_on([repeated], on_failure="last_good").orders == []


@settings(max_examples=10)
@given(rows=st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=5, max_size=30))
def test_orders_are_on_distributions_alone(trade_on: TradeOn, predict: Predict, rows: list[list[float]]) -> None:
    traded = trade_on([predict(1000 + number, *row) for number, row in enumerate(rows)], cooldown_ns=0)

    for row in (rows[at - 1000] for at in traded.times_ms()):
        assert all(-1e-5 <= value <= 1 + 1e-5 for value in row)
        assert abs(sum(row) - 1) < 1e-3


def test_bar_strategies_refuse_invalid_forecasts(small_market: Trades, predict: Predict) -> None:
    instrument = perpetual(small_market.instrument, fee_bps=0.0)
    fields = {"instrument_id": instrument.id, "trade_size": SIZE, "horizon_ns": 60_000 * MS}
    data = [trade_ticks(small_market), quote_ticks(small_market)]
    wrong = {
        "return_bps": (math.nan, math.inf, -2e4, None),
        "confidence": (1.5, math.nan, -0.1),
        "price": (math.nan,),
        "sentiment_score": (2.0, math.nan),
        "texts": (-1.0,),
    }
    for strategy, outputs in (
        (BarStrategy(BarStrategyConfig(**fields)), BAR),
        (NewsBarStrategy(NewsBarStrategyConfig(**fields)), NEWS),
    ):
        garbage = [{**outputs, name: value} for name in outputs for value in wrong.get(name, ())]
        predictions = [predict(1000 + 100 * number, *BUY) for number in range(len(garbage) + 1)]
        for prediction, values in zip(predictions, [*garbage, outputs], strict=True):
            prediction.outputs = values

        traded = trade(strategy, instrument, data, predictions)

        assert traded.times_ms() == [1000 + 100 * len(garbage)]
        assert traded.strategy.invalid_predictions == len(garbage)
