"""Outcomes of predictions equal the labels, and those of positions equal the engine's bookings."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from bar_support import MINUTE, market, without
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common.component import MessageBus
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import BarType, CustomData
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.events import PositionClosed
from nautilus_trader.model.identifiers import ClientId, InstrumentId
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from small_trades import MS, START
from trading_support import SIZE

from nautilus_torchserve.market.trades.labels import UNKNOWN, label
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.bars.report import next_directions
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorder, OutcomeRecorderConfig, Outcomes, scored
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_type
from nautilus_torchserve.traffic.records import ClosedTrade, ScoredPrediction
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore
from strategies.tick_strategy import TickStrategy, TickStrategyConfig

BTC = InstrumentId.from_str("BTCUSDT.BINANCE")
CLASSES = ("BUY", "SELL", "HOLD")


def prediction_at(ts_event: int, outputs: dict[str, float], **changes: object) -> Prediction:
    """A prediction about the event of this time."""
    times = {"ts_event": ts_event, "ts_init": ts_event + 1, "feature_ts": ts_event, "latency_ns": 1}
    fields = {"instrument_id": BTC, "model": "tick", "version": "1.0", "archive_digest": "0" * 64}
    return Prediction(outputs=outputs, **{**times, **fields, **changes})


def tick_outputs(likeliest: int) -> dict[str, float]:
    return {name: 0.6 if place == likeliest else 0.2 for place, name in enumerate(("buy", "sell", "hold"))}


PRICES = st.lists(st.integers(9_990, 10_010), min_size=1, max_size=60)


@settings(deadline=None)
@given(PRICES, st.integers(1, 6), st.integers(0, 12), st.integers(0, 5), st.sampled_from([0.0, 1.0, 5.0]), st.data())
def test_ticks_are_scored_as_the_labels_are_without_overlap(
    prices: list[int], horizon: int, delay: int, warm: int, cost_bps: float, data: st.DataObject
) -> None:
    """Predictions about events from ``warm`` on arrive ``delay`` events later."""
    classes = data.draw(st.lists(st.integers(0, 2), min_size=len(prices), max_size=len(prices)))
    outcomes, scored_outcomes = Outcomes(horizon), []

    for number, price in enumerate(prices):
        scored_outcomes.append(outcomes.event(number * 10, price))
        about = number - delay
        if about >= warm:
            scored_outcomes.append(outcomes.prediction(prediction_at(about * 10, tick_outputs(classes[about]))))

    labels = label(np.array(prices), horizon, cost_bps)
    expected = []
    for about in range(warm, len(prices) - max(delay, horizon), 1):
        if (about - warm) % horizon == 0:
            move = 1e4 * (prices[about + horizon] - prices[about]) / prices[about]
            markout = {0: move, 1: -move, 2: None}[classes[about]]
            expected.append((about * 10, CLASSES[classes[about]], CLASSES[labels[about]], markout))
    records = [scored(outcome, cost_bps) for outcome in scored_outcomes if outcome is not None]
    assert [
        (record.ts_ns, record.predicted, record.actual, record.markout_bps) for record in records if record
    ] == expected


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=40, max_size=40), st.integers(0, 2**32 - 1))
def test_bars_are_scored_as_the_report_does_but_not_over_a_break(up: list[bool], seed: int) -> None:
    bars = without(market(count=40, seed=seed % 97), 10, 10 + seed % 20)
    outcomes, scored_outcomes = Outcomes(horizon=1, max_gap_ns=MINUTE), []

    for number, ts_event in enumerate(bars.ts_event.tolist()):
        scored_outcomes.append(outcomes.event(ts_event, int(bars.close[number])))
        scored_outcomes.append(
            outcomes.prediction(prediction_at(ts_event, {"return_bps": 1.0 if up[number] else -1.0}))
        )

    classes = next_directions(bars, MINUTE)
    records = [
        record for outcome in scored_outcomes if outcome is not None and (record := scored(outcome, 0.0)) is not None
    ]
    assert [(each.ts_ns, each.actual) for each in records] == [
        (int(bars.ts_event[number]), ("UP", "DOWN")[direction])
        for number, direction in enumerate(classes)
        if direction != UNKNOWN
    ]
    assert all((each.predicted == each.actual) == (each.markout_bps > 0) for each in records)


def test_a_horizon_of_several_bars_ends_where_a_break_does() -> None:
    outcomes = Outcomes(horizon=3, max_gap_ns=MINUTE)
    times = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16]

    scored_outcomes = []
    for minute in times:
        outcome = outcomes.event(minute * MINUTE, 1_000 + minute)
        scored_outcomes += [] if outcome is None else [outcome]
        outcomes.prediction(prediction_at(minute * MINUTE, {"return_bps": 1.0}))

    assert [outcome.prediction.feature_ts // MINUTE for outcome in scored_outcomes] == [0, 10, 13]


def test_of_several_events_at_one_time_each_has_its_own_prediction() -> None:
    outcomes, prices = Outcomes(horizon=1), [100, 110, 121, 121]

    for price in prices:
        assert outcomes.event(7, price) is None
    scored_outcomes = [outcomes.prediction(prediction_at(7, tick_outputs(0))) for _ in prices]

    assert [round(outcome.return_bps) if outcome else None for outcome in scored_outcomes] == [1000, 1000, 0, None]


@pytest.mark.parametrize("status", [Status.DEGRADED, Status.SUPERSEDED])
def test_predictions_that_are_not_ok_are_not_scored(status: Status) -> None:
    outcomes = Outcomes(horizon=1)
    outcomes.event(0, 100)

    outcomes.prediction(prediction_at(0, tick_outputs(0), status=status))

    assert outcomes.event(1, 101) is None


class Closed:
    """Positions that were closed, as the engine says."""

    def __init__(self, bus: MessageBus) -> None:
        self.events: list[PositionClosed] = []
        bus.subscribe(topic="events.position.*", handler=self._take)

    def _take(self, event: object) -> None:
        if isinstance(event, PositionClosed):
            self.events.append(event)


def run(trades: Trades, predictions: Sequence[Prediction], url: str, **options: object) -> list[PositionClosed]:
    """Run the tick strategy on predictions fed in as data, and a recorder beside it."""
    instrument = perpetual(trades.instrument, fee_bps=1.0)
    recorder = OutcomeRecorderConfig(
        **{"traffic": url, "model": "tick", "instrument_ids": [instrument.id], "horizon": 5, "cost_bps": 0.5, **options}
    )
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(log_level="ERROR")))
    try:
        engine.add_venue(
            instrument.id.venue,
            OmsType.NETTING,
            AccountType.MARGIN,
            starting_balances=[Money(100_000, instrument.quote_currency)],
            trade_execution=False,
            bar_execution=False,
        )
        engine.add_instrument(instrument)
        engine.add_actor(OutcomeRecorder(recorder))
        config = TickStrategyConfig(instrument_id=instrument.id, trade_size=SIZE, cooldown_ns=0)
        engine.add_strategy(TickStrategy(config))
        engine.add_data(trade_ticks(trades))
        engine.add_data(quote_ticks(trades))
        engine.add_data(
            [CustomData(prediction_type(instrument.id), prediction) for prediction in predictions],
            client_id=ClientId("TORCHSERVE"),
        )
        closed = Closed(engine.kernel.msgbus)
        engine.run()
        return closed.events
    finally:
        engine.dispose()


@pytest.fixture
def predictions(predict: Callable[..., Prediction]) -> list[Prediction]:
    """Predictions from the 10th trade on; BUY and SELL take turns each 20 trades, as do two versions of a split."""
    made = []
    for number in range(10, 99):
        buys = number // 20 % 2 == 0
        prediction = predict(100 * number + 1, *((0.8, 0.1, 0.1) if buys else (0.1, 0.8, 0.1)))
        prediction.version, prediction.split = ("1.0", "exp-1") if buys else ("1.1", "exp-1")
        made.append(prediction)
    return made


def test_a_run_leaves_its_outcomes_and_its_trades_in_the_store(
    small_market: Trades, predictions: list[Prediction], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/traffic.db"

    closed = run(small_market, predictions, url)

    with TrafficStore(url) as store:
        records, trades = store.read(ScoredPrediction, "exp-1"), store.read(ClosedTrade, "exp-1")
    assert [each.ts_ns for each in records] == [START + 100 * MS * number for number in range(10, 95, 5)]
    steps = 1e4 * 5 / small_market.price[10:95:5]  # the price rises by a step a trade
    assert [each.actual for each in records] == ["BUY" if step > 0.5 else "HOLD" for step in steps]
    for record, rise_bps, number in zip(records, steps, range(10, 95, 5), strict=True):
        buys = number // 20 % 2 == 0
        assert (record.predicted, record.version) == (("BUY", "1.0") if buys else ("SELL", "1.1"))
        assert record.markout_bps == pytest.approx(rise_bps if buys else -rise_bps, rel=1e-12)
    assert len(trades) == len(closed) == 5  # the last one is closed when the strategy stops
    for trade, event in zip(trades, closed, strict=True):
        assert trade.version == ("1.0" if event.entry.name == "BUY" else "1.1")
        assert (trade.opened_ns, trade.closed_ns) == (event.ts_opened, event.ts_closed)
        assert trade.pnl == event.realized_pnl.as_double()
        assert trade.return_bps == pytest.approx(1e4 * trade.pnl / (0.01 * event.avg_px_open), rel=1e-9)
        assert trade.return_bps == pytest.approx(1e4 * event.realized_return - 2.0, abs=0.01)  # two fees of 1 bps


def test_other_models_predictions_and_trades_are_not_ours(
    small_market: Trades, predictions: list[Prediction], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/traffic.db"

    run(small_market, predictions, url, model="other")

    with TrafficStore(url) as store:
        assert store.read(ScoredPrediction, "exp-1") == store.read(ClosedTrade, "exp-1") == []


def test_store_that_cannot_be_opened_fails_at_the_start(small_market: Trades, predictions: list[Prediction]) -> None:
    with pytest.raises(StoreFailed, match="expected a database that can be opened"):
        run(small_market, predictions, "sqlite:////proc/traffic/traffic.db")


BAR_TYPE = BarType.from_str("ETHUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"instrument_ids": []}, "expected instrument_ids of at least 1 instrument, got none"),
        ({"horizon": 0}, "expected horizon of at least 1 event, got 0"),
        ({"cost_bps": -1.0}, "expected cost_bps of at least 0, got -1"),
        ({"flush_s": 0.0}, "expected flush_s above 0, got 0"),
        ({"bar_types": (BAR_TYPE,)}, "expected bar_types of all instruments or of none"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    good = {"traffic": "sqlite://", "model": "tick", "instrument_ids": [BTC], "horizon": 5}

    with pytest.raises(BadSetting, match=message):
        OutcomeRecorderConfig(**{**good, **wrong})


def test_predictions_stored_before_there_were_splits_are_read(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    new = predict(1, 0.5, 0.3, 0.2)
    new.split, new.pending_version_change = "exp-1", True
    ParquetDataCatalog(tmp_path).write_data([new])
    (path,) = (tmp_path / "data").rglob("*.parquet")
    table = pq.read_table(path).drop_columns(["split", "leaving"])
    pq.write_table(table, path)

    (old,) = (custom.data for custom in ParquetDataCatalog(tmp_path).query(Prediction))

    assert (old.split, old.pending_version_change) == ("", False)
    assert old.outputs == new.outputs
