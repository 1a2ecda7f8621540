"""Backtests on features of one's own: trades, bars and quotes, several instruments, any strategy, both modes."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bar_support import market
from nautilus_trader.core.data import Data as NautilusData
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import Bar, BarType, OrderBookDepth10, QuoteTick, TradeTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import LEVELS, Depth, Quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.report import summary, write_reports
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import Data, StrategyFailed, run_backtest
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.trading.features.custom_events import CustomEvents, load_custom_events
from nautilus_torchserve.trading.features.leak import find_leaks
from nautilus_torchserve.trading.instruments.instruments import implied, to_depth10
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig

SCHEMA = FeatureSchema("move/1", (Column("move", "bps"), Column("other", "bps")), window=2)


def price_of(data: TradeTick | Bar | QuoteTick | OrderBookDepth10) -> float:
    if isinstance(data, TradeTick):
        return data.price.as_double()
    if isinstance(data, OrderBookDepth10):
        return sum(level.price.as_double() for level in (*data.bids[:3], *data.asks[:3]))
    return (data.close if isinstance(data, Bar) else data.bid_price).as_double()


class Moves:
    """Move of the predicted instrument since its last datum, and the same of all other data."""

    def __init__(self, instrument_ids: Sequence[InstrumentId]) -> None:
        self.own = instrument_ids[0]
        self.last: dict[Any, float] = {}
        self.other = 0.0

    def update(self, data: Any) -> list[float] | None:
        instrument_id = data.bar_type.instrument_id if isinstance(data, Bar) else data.instrument_id
        kind, price = (instrument_id, str(getattr(data, "bar_type", type(data)))), price_of(data)
        before, self.last[kind] = self.last.get(kind), price
        if before is None:
            return None
        move = 1e4 * (price / before - 1)
        if kind == next((first for first in self.last if first[0] == self.own), None):
            return [move, self.other]
        self.other = move
        return None


def spec_on(*data: str) -> ModelSpec:
    features = FeatureSet(data=data, schema=f"{__name__}:SCHEMA", streaming=f"{__name__}:Moves", warm_up=3)
    return ModelSpec(name="moves", features=features, outputs=(Output("up"), Output("down")), activation="softmax")


TRADES, BARS, QUOTES = spec_on("trades"), spec_on("bars:1-MINUTE-LAST-EXTERNAL"), spec_on("quotes")
BOTH, DEPTH, ALL = spec_on("trades", "quotes"), spec_on("depth"), spec_on("trades", "depth", "quotes")
CROSS = spec_on("bars:1-MINUTE-LAST-EXTERNAL", "bars:ETHUSD.SIM-1-MINUTE-LAST-EXTERNAL")
MIXED = spec_on("trades", "bars:1-MINUTE-LAST-EXTERNAL")
FRAMES = spec_on("bars:1-MINUTE-LAST-EXTERNAL", "bars:5-MINUTE-LAST-EXTERNAL")
TICK_BARS = spec_on("bars:5-TICK-LAST-INTERNAL")


class FollowConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration of `Follow`."""

    least: float = 0.5


class Follow(PredictionStrategy):
    """Long where UP is likelier than ``least``, else short."""

    def act_on(self, prediction: Prediction) -> str:
        size = self.config.trade_size
        wanted = size if prediction.outputs["up"] > self.config.least else -size
        change = wanted - self.portfolio.net_position(self.config.instrument_id)
        if not change:
            return "position as wanted"
        return self.order(OrderSide.BUY if change > 0 else OrderSide.SELL, abs(change), prediction)


class OnBarsConfig(StrategyConfig, frozen=True):
    """Configuration of `OnBars`."""

    instrument_id: InstrumentId


class OnBars(Strategy):
    """A strategy of one's own that trades without any prediction."""

    def on_start(self) -> None:
        self.bars = 0
        self.subscribe_bars(BarType.from_str(f"{self.config.instrument_id}-1-MINUTE-LAST-EXTERNAL"))

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        if self.bars % 20 == 0:
            side = OrderSide.BUY if self.bars % 40 else OrderSide.SELL
            instrument = self.cache.instrument(self.config.instrument_id)
            self.submit_order(self.order_factory.market(instrument.id, side, instrument.make_qty(0.1)))


@customdataclass
class Sentiment(NautilusData):
    """Data of a class of one's own."""

    score: float = 0.0


class ScoredMoves(Moves):
    """Moves of trades, with the last score in place of the other data's move."""

    def update(self, data: Any) -> list[float] | None:
        if isinstance(data, Sentiment):
            self.other = data.score
            return None
        return super().update(data)


_SCORED = spec_on("trades", f"custom:{__name__}:Sentiment")
SCORED = replace(_SCORED, features=replace(_SCORED.features, streaming=f"{__name__}:ScoredMoves"))


def settings_for(archive: Path, spec: str, **fields: Any) -> FeatureBacktestSettings:
    return FeatureBacktestSettings(
        url=f"mar:{archive}",
        model="moves",
        spec=f"{__name__}:{spec}",
        **{"strategy_path": f"{__name__}:Follow", **fields},
    )


def in_both_modes(data: Data, settings: FeatureBacktestSettings) -> BacktestResult:
    """The inline run, after the prefetched one was found to be the same."""
    inline, prefetched = (run_backtest(data, replace(settings, mode=mode)) for mode in ("inline", "prefetch"))
    for left, right in zip(prefetched.instruments, inline.instruments, strict=True):
        pd.testing.assert_frame_equal(left.fills, right.fills, check_exact=True)
        pd.testing.assert_frame_equal(
            left.predictions.drop(columns="latency_ns"), right.predictions.drop(columns="latency_ns"), check_exact=True
        )
    assert prefetched.balance == inline.balance
    return inline


def test_trades_with_their_implied_quotes(moves_archive: Path) -> None:
    trades = load(None, trades=400, seed=1)

    result = in_both_modes([trades], settings_for(moves_archive, "TRADES"))

    assert len(result.predictions) + result.not_arrived == 400 - 1 - 3  # the first has no move, three warm up
    assert len(result.fills) > 20


def test_several_instruments(moves_archive: Path, tmp_path: Path) -> None:
    bars = [market("SIMUSD", 90), market("ETHUSD", 90, seed=2)]
    settings = settings_for(moves_archive, "BARS", latency_ns=10**7)

    result = in_both_modes(bars, settings)

    assert [len(part.predictions) > 50 for part in result.instruments] == [True, True]
    assert write_reports(settings, result, tmp_path).name == "summary.json"
    assert summary(settings, result)["events"] == 180


@pytest.mark.parametrize(
    ("spec", "is_reversed"), [("CROSS", False), ("CROSS", True), ("BOTH", False), ("MIXED", True), ("FRAMES", True)]
)
def test_actor_is_given_what_training_is(moves_archive: Path, spec: str, is_reversed: bool) -> None:
    trades, minutes = load(None, trades=300, seed=2), market("SIMUSD", 90)
    of_trades = replace(minutes, interval_ns=5 * minutes.interval_ns)
    data: list[Any] = {
        "CROSS": [minutes, market("ETHUSD", 90, seed=2)],  # all bars close at the same times
        "BOTH": [trades, implied(trades)],  # a quote at the time of each trade
        "MIXED": [trades, replace(minutes, ts_event=trades.ts_init[: 3 * len(minutes) : 3].copy())],
        "FRAMES": [minutes, of_trades],
    }[spec]
    data = data[::-1] if is_reversed else data

    result = in_both_modes(data, settings_for(moves_archive, spec))

    (about,) = result.instruments
    inputs = feature_arrays(f"{__name__}:{spec}", data).inputs[: len(about.predictions)].astype(np.float64)
    margins = inputs[:, 0] + 0.5 * inputs[:, 1]
    np.testing.assert_allclose(about.predictions["up"], 1 / (1 + np.exp(-margins)), rtol=1e-5)
    assert about.data.instrument.symbol == "SIMUSD"
    assert len(about.predictions) > 50


def test_orders_meet_the_quotes_that_features_are_computed_from(moves_archive: Path) -> None:
    quotes = implied(load(None, trades=300, seed=2))

    result = in_both_modes([quotes], settings_for(moves_archive, "QUOTES"))

    at = np.searchsorted(quotes.ts_init, result.fills["ts_ns"].to_numpy(), side="right") - 1
    is_buy = (result.fills["side"] == "BUY").to_numpy()
    quoted = np.where(is_buy, quotes.ask_price[at], quotes.bid_price[at])
    worse = np.where(is_buy, 1, -1) * (np.round(result.fills["price"].to_numpy() * 100).astype(int) - quoted)
    assert len(result.fills) > 10
    assert set(worse) <= {1, 2}  # one tick, or beyond the quoted size two


def with_levels(quotes: Quotes) -> Depth:
    """Three levels of 0.05 each, two ticks apart, in quotes whose best level has this size, too."""
    apart, size = 2 * np.arange(LEVELS), np.where(np.arange(LEVELS) < 3, 50, 0)
    sizes = np.tile(size, (len(quotes), 1))
    return Depth(
        **{**vars(quotes), "bid_size": sizes[:, 0], "ask_size": sizes[:, 0]},
        bid_prices=np.where(size, quotes.bid_price[:, None] - apart, 0),
        ask_prices=np.where(size, quotes.ask_price[:, None] + apart, 0),
        bid_sizes=sizes,
        ask_sizes=sizes,
    )


def test_orders_walk_the_levels_that_features_are_computed_from(moves_archive: Path, tmp_path: Path) -> None:
    depth = with_levels(implied(load(None, trades=300, seed=2)))
    settings = settings_for(moves_archive, "DEPTH", trade_size=Decimal("0.06"))

    result = in_both_modes([depth], settings)

    at = np.searchsorted(depth.ts_init, result.fills["ts_ns"].to_numpy(), side="right") - 1
    is_buy = (result.fills["side"] == "BUY").to_numpy()
    best = np.where(is_buy, depth.ask_price[at], depth.bid_price[at])
    worse = np.where(is_buy, 1, -1) * (np.round(result.fills["price"] * 100).astype(int) - best)
    filled = result.fills.groupby([result.fills["ts_ns"], worse])["quantity"].sum().unstack(fill_value=0).round(2)
    assert filled.columns.tolist() == [1, 3, 5]  # each level costs a tick
    assert filled.drop_duplicates().to_numpy().tolist() == [[0.05, 0.01, 0], [0.05, 0.05, 0.02]]
    assert len(filled) > 10
    assert "with 3 levels of each side" in write_reports(settings, result, tmp_path).read_text()


def test_depth_beside_trades_also_from_a_catalog(moves_archive: Path, tmp_path: Path) -> None:
    trades = load(None, trades=300, seed=2)
    depth = with_levels(implied(trades))
    levels = to_depth10(depth)
    assert [level.side for level in levels[0].asks[2:4]] == [OrderSide.SELL, OrderSide.NO_ORDER_SIDE]
    ParquetDataCatalog(tmp_path).write_data(levels)
    stored = load_quotes(tmp_path)

    result = in_both_modes([trades, stored], settings_for(moves_archive, "ALL"))

    assert (type(stored), stored.sha256) == (Depth, depth.sha256)
    assert len(result.predictions) > 250


def test_training_and_leak_have_the_depth_that_a_backtest_has(moves_archive: Path) -> None:
    depth = with_levels(implied(load(None, trades=300, seed=2)))

    arrays = feature_arrays(DEPTH, depth)
    leaks = find_leaks(DEPTH, [depth]).leaks

    predictions = run_backtest([depth], settings_for(moves_archive, "DEPTH")).predictions
    assert arrays.ts_event[: len(predictions)].tolist() == predictions["ts_event"].tolist()
    assert leaks == ()


def test_data_of_a_class_of_ones_own_reach_features_everywhere(moves_archive: Path, tmp_path: Path) -> None:
    trades = load(None, trades=300, seed=2)
    times = trades.ts_init[::30] + 5
    scores = [Sentiment(ts_event=ts - 5, ts_init=ts, score=float(n % 3)) for n, ts in enumerate(times.tolist())]
    ParquetDataCatalog(tmp_path).write_data([*scores])
    custom = load_custom_events(Sentiment, tmp_path)

    result = in_both_modes([trades, custom], settings_for(moves_archive, "SCORED"))
    arrays = feature_arrays(SCORED, [trades, custom])
    without = run_backtest([trades, CustomEvents(Sentiment, scores[:1])], settings_for(moves_archive, "SCORED"))

    assert len(result.predictions) + result.not_arrived == len(arrays) == 296
    assert set(arrays.inputs[:, 1]) == {0.0, 1.0, 2.0}
    assert not without.predictions["up"].equals(result.predictions["up"])
    since_last_score = replace(SCORED, features=replace(SCORED.features, warm_up=40))
    assert find_leaks(since_last_score, [trades, custom]).leaks == ()
    with pytest.raises(BadData, match="expected data of Sentiment, which its features are computed from, got trades"):
        run_backtest([trades], settings_for(moves_archive, "SCORED"))
    with pytest.raises(BadData, match="datum 2: expected ts_init sorted in time"):
        CustomEvents(Sentiment, scores[1::-1])


def test_bars_that_nautilus_trader_aggregates(moves_archive: Path) -> None:
    trades = load(None, trades=300, seed=3)

    result = in_both_modes([trades], settings_for(moves_archive, "TICK_BARS"))

    assert len(result.predictions) + result.not_arrived == 300 // 5 - 1 - 3


def test_strategy_of_ones_own_may_trade_without_predictions(moves_archive: Path, tmp_path: Path) -> None:
    settings = settings_for(moves_archive, "BARS", strategy_path=f"{__name__}:OnBars", latency_ns=10**7)

    result = in_both_modes([market("SIMUSD", 90)], settings)

    assert len(result.fills) >= 4
    assert result.past_trades == ()  # none was opened on a prediction
    assert "OnBars" in write_reports(settings, result, tmp_path).read_text()


class FailingConfig(FollowConfig, kw_only=True, frozen=True):
    """Configuration of `Failing`."""


class Failing(Follow):
    def act_on(self, prediction: Prediction) -> str:
        return str(prediction.outputs["upp"])


class MoreArgumentsConfig(FollowConfig, kw_only=True, frozen=True):
    """Configuration of `MoreArguments`."""


class MoreArguments(Follow):
    def __init__(self, config: MoreArgumentsConfig, more: int) -> None:
        super().__init__(config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Failing", r"test_feature_backtest:Failing: .*test_feature_backtest.py:\d+: KeyError: 'upp'"),
        ("MoreArguments", r"test_feature_backtest:MoreArguments: TypeError: .* missing 1 required .* 'more'"),
    ],
)
def test_fault_of_a_strategy_names_its_line(moves_archive: Path, name: str, message: str) -> None:
    with pytest.raises(StrategyFailed, match=message):
        run_backtest(
            [load(None, trades=50, seed=1)], settings_for(moves_archive, "TRADES", strategy_path=f"{__name__}:{name}")
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strategy_path": f"{__name__}:SCHEMA"}, "test_feature_backtest:SCHEMA: expected a NautilusTrader Strategy"),
        ({"strategy_path": None}, r"expected a strategy for .*:TRADES \(--strategy my_strategies:Name\), got none"),
        (
            {"strategy_path": "nautilus_torchserve.trading.prediction_strategy:PredictionStrategy"},
            r"expected a method act_on\(prediction\), got none",
        ),
        ({"strategy_settings": {"leest": 0.4}}, "FollowConfig.leest: expected a field of FollowConfig, got an unknown"),
        ({"strategy_settings": {"least": "high"}}, "FollowConfig: Expected `float`, got `str`"),
        ({"strategy_settings": {"strategy_id": "A-1"}}, "expected no strategy_id among the strategy's settings"),
        ({"strategy_settings": {"trade_size": 1}}, "expected no trade_size among the strategy's settings"),
        ({"traffic": "sqlite:///x"}, "expected no traffic for"),
    ],
)
def test_settings_of_the_strategy_are_checked(moves_archive: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        run_backtest([load(None, trades=50, seed=1)], settings_for(moves_archive, "TRADES", **fields))


def test_data_without_what_the_spec_names_are_refused(moves_archive: Path) -> None:
    with pytest.raises(BadData, match=r"expected quotes of SIMUSD.SIM, which its features .*, got trades"):
        run_backtest([load(None, trades=50, seed=1)], settings_for(moves_archive, "QUOTES"))
    with pytest.raises(
        BadData, match=r"expected data of different instruments or kinds, got trades of SIMUSD.SIM, trad"
    ):
        run_backtest([load(None, trades=50, seed=1)] * 2, settings_for(moves_archive, "TRADES"))
    with pytest.raises(BadData, match="expected data of at least 1 instrument, got none"):
        run_backtest([], settings_for(moves_archive, "TRADES"))
