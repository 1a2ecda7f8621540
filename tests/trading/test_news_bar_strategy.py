"""The news bar strategy forbids some entries of the bar strategy and changes nothing else."""

from collections.abc import Sequence
from typing import Any

import pytest
from bar_support import MINUTE, market
from nautilus_trader.model.identifiers import InstrumentId
from small_trades import MS
from trading_support import SIZE, Traded, trade

from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects, bar_quote_ticks
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.prediction import Prediction
from strategies.bar_strategy import BarStrategy, BarStrategyConfig
from strategies.news_bar_strategy import NewsBarStrategy, NewsBarStrategyConfig

TEN = market(count=10)
INSTRUMENT = perpetual(TEN.instrument, fee_bps=0.0)
IN, OUT, TURN = ("BUY", SIZE), ("SELL", SIZE), ("SELL", 2 * SIZE)


def predict(bar: int, return_bps: float, texts: int = 1, score: float = 0.0) -> Prediction:
    """Return the ensemble's prediction after the bar of this position."""
    closed = int(TEN.ts_event[bar])
    forecast = {"price": 4e4, "return_bps": return_bps, "sigma_bps": 5.0, "confidence": 0.6}
    return Prediction(
        ts_event=closed,
        ts_init=closed + 10 * MS,
        instrument_id=InstrumentId.from_str(TEN.instrument.instrument_id),
        model="ensemble",
        version="1.0",
        archive_digest="0123456789abcdef",
        outputs={**forecast, "sentiment_score": score, "texts": float(texts)},
        feature_ts=closed,
        latency_ns=100_000,
    )


def trade_on(predictions: Sequence[Prediction], plain: bool = False, **options: Any) -> Traded:
    """Run the strategy on predictions fed in as data, with a horizon of two bars."""
    settings = {"instrument_id": INSTRUMENT.id, "trade_size": SIZE, "horizon_ns": 2 * MINUTE, **options}
    strategy = (
        BarStrategy(BarStrategyConfig(**settings)) if plain else NewsBarStrategy(NewsBarStrategyConfig(**settings))
    )
    data = [bar_objects(TEN, bar_type(INSTRUMENT.id, MINUTE)), bar_quote_ticks(TEN, INSTRUMENT, 0.0)]
    return trade(strategy, INSTRUMENT, data, predictions)


def sides(predictions: Sequence[Prediction], **options: Any) -> list[tuple[str, Any]]:
    """Side and quantity of each order."""
    return trade_on(predictions, **options).sides()


def bars_of(traded: Traded) -> list[int]:
    """After which bar each order was sent."""
    return [int((order.ts_init - TEN.ts_event[0]) // MINUTE) for order in traded.orders if order.tags]


@pytest.mark.parametrize(("texts", "entries"), [(0, []), (1, [IN]), (3, [IN])])
def test_where_news_is_required_only_forecasts_with_news_enter(texts: int, entries: list) -> None:
    predictions = [predict(8, 3.0, texts)]

    assert sides(predictions, require_news=True) == entries
    assert sides(predictions, require_news=False) == [IN]


@pytest.mark.parametrize(
    ("return_bps", "score", "enters"),
    [
        (3.0, -0.6, False),
        (3.0, -0.5, False),
        (3.0, -0.49, True),
        (3.0, 0.9, True),
        (-3.0, 0.6, False),
        (-3.0, 0.5, False),
        (-3.0, 0.49, True),
        (-3.0, -0.9, True),
        (3.0, 0.0, True),
    ],
)
def test_a_strong_sentiment_forbids_entries_against_it(return_bps: float, score: float, enters: bool) -> None:
    predictions = [predict(8, return_bps, score=score)]

    assert sides(predictions, veto_score=0.5) == ([IN if return_bps > 0 else OUT] if enters else [])
    assert len(sides(predictions)) == 1


def test_a_forbidden_turn_leaves_the_position_to_its_horizon() -> None:
    predictions = [predict(1, 3.0), predict(2, -3.0, texts=0), predict(3, -3.0, texts=0), predict(9, 0.0)]

    careful, plain = trade_on(predictions, require_news=True), trade_on(predictions)

    assert careful.sides() == [IN, OUT]
    assert bars_of(careful) == [1, 3]
    assert plain.sides()[:2] == [IN, TURN]
    assert bars_of(plain)[:2] == [1, 2]


def test_a_signal_in_the_positions_direction_renews_it_with_or_without_news() -> None:
    predictions = [predict(1, 3.0), predict(2, 3.0, texts=0), predict(3, 0.0), predict(4, 0.0)]

    assert bars_of(trade_on(predictions, require_news=True, veto_score=0.5)) == [1, 4]
    assert bars_of(trade_on([predictions[0], *predictions[2:]], require_news=True, veto_score=0.5)) == [1, 3]


def test_without_either_it_trades_as_the_bar_strategy() -> None:
    predictions = [
        predict(bar, moves, texts, score)
        for bar, (moves, texts, score) in enumerate(
            [(3.0, 0, 0.0), (-3.0, 1, 0.9), (0.0, 2, -0.9), (4.0, 0, 0.0), (4.0, 1, -1.0), (0.0, 1, 0.0)]
        )
    ]

    assert sides(predictions) == sides(predictions, plain=True)
    assert len(sides(predictions)) == 4


@pytest.mark.parametrize("veto", [0.0, -0.1, 1.01, float("nan")])
def test_invalid_veto_score_is_refused(veto: float) -> None:
    with pytest.raises(BadSetting, match="expected veto_score above 0 and at most 1, or None, got"):
        NewsBarStrategyConfig(instrument_id=INSTRUMENT.id, trade_size=SIZE, horizon_ns=MINUTE, veto_score=veto)
