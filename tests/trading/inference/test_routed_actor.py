"""Two versions of a model behind one actor: attribution of orders, routing of requests, and stored call windows."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from nautilus_trader.model.events import PositionClosed
from nautilus_trader.model.orders import Order
from news_support import SIM, ids
from routed_support import Register, registering, start, until
from trade_market import inline_config, trade_market
from trading_support import SIZE, Traded
from typer.testing import CliRunner

from nautilus_torchserve.features.tick import WINDOW
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.engine import built, only_actor
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorder
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_topic
from nautilus_torchserve.trading.tick.actor import InferenceActor, InferenceActorConfig
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction
from nautilus_torchserve.traffic.split import Kind, State, Unit
from nautilus_torchserve.traffic.store import TrafficStore
from support import PROJECT, script_app


def test_on_a_version_that_is_left_positions_are_closed_and_none_is_opened(
    predict: Callable[..., Prediction], trade_on: Callable[..., Traded]
) -> None:
    leaving = [predict(at, *outputs) for at, outputs in ((1101, BUY), (2201, SELL), (3301, SELL), (4401, SELL))]
    leaving[0].pending_version_change = leaving[1].pending_version_change = leaving[3].pending_version_change = True
    held = predict(1601, *BUY)

    traded = trade_on([leaving[0], held, *leaving[1:]], cooldown_ns=0)

    assert traded.sides() == [("BUY", SIZE), ("SELL", SIZE), ("SELL", SIZE)]  # opened, closed, opened by the next
    assert traded.times_ms() == [1601, 2201, 3301]


BUY, SELL = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)


def test_an_order_tells_the_split_that_it_is_a_part_of(
    predict: Callable[..., Prediction], trade_on: Callable[..., Traded]
) -> None:
    apart, part = predict(1101, *BUY), predict(2201, *SELL)
    part.split = "exp-1"

    first, second, *_ = trade_on([apart, part]).orders

    assert [tag.partition("=")[0] for tag in first.tags] == ["model", "version", "digest", "feature_ts"]
    assert second.tags[-1] == "split=exp-1"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "mar:tick.mar"}, r"expected url of a server \(traffic is split there\), got 'mar:tick.mar'"),
        ({"version": "1.0"}, r"expected no version \(the split says which\), got '1.0'"),
    ],
)
def test_settings_that_contradict_splits_are_refused(wrong: dict, message: str) -> None:
    good = {"url": "http://127.0.0.1:8080", "traffic": "sqlite:///x.db", "instrument_id": ids(SIM)[0]}

    InferenceActorConfig(**good)
    with pytest.raises(BadSetting, match=message):
        InferenceActorConfig(**{**good, **wrong})


def test_a_report_is_about_one_version() -> None:
    app = script_app(PROJECT / "scripts/backtest.py")

    result = CliRunner().invoke(app, ["tick", "--traffic", "sqlite:///x.db", "--report", "x"])

    assert result.exit_code == 2
    assert "a report is about one version" in " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def register(tick_server: TorchServe, tick_archive: Path) -> Iterator[Register]:
    """Register versions of a model, made of one run; the first one is the default."""
    with registering(tick_server.management(), tick_archive.parent) as register:
        yield register


@pytest.fixture(scope="module")
def eager(register: Register, eager_archive: Path) -> str:
    """A tick model with versions 1.0 and 1.1 of the same weights."""
    register("tick-eager", eager_archive.parent / "run", "1.0", "1.1")
    return "tick-eager"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """URL of an empty store."""
    return f"sqlite:///{tmp_path}/traffic.db"


@pytest.fixture
def split_settings(eager: str, url: str, tick_server: TorchServe, monkeypatch: pytest.MonkeyPatch) -> BacktestSettings:
    """A tick backtest that follows the splits of a store."""
    assert tick_server.token is not None
    monkeypatch.setenv("TORCHSERVE_TOKEN", tick_server.token)
    return BacktestSettings(url=tick_server.inference_url, model=eager, traffic=url, in_sample=True)


@dataclass(frozen=True)
class Ran:
    """Result of a tick backtest."""

    orders: list[Order]
    predictions: list[Prediction]
    closed: list[PositionClosed]
    actor: InferenceActor

    def tags(self, order_id: object) -> dict[str, str]:
        """Of an order."""
        (order,) = (each for each in self.orders if each.client_order_id == order_id)
        return dict(tag.split("=", 1) for tag in order.tags or ())


def run(trades: Trades, settings: BacktestSettings, folder: Path) -> Ran:
    """`trading.backtest.run.run_backtest`, but for its result."""
    market = trade_market(trades, settings)
    (instrument,) = market.instruments
    with built(inline_config(market, folder), [instrument]) as (node, engine):
        bus = engine.kernel.msgbus
        predictions: list[Prediction] = []
        bus.subscribe(topic=prediction_topic(instrument.id), handler=predictions.append)
        closed: list[PositionClosed] = []
        bus.subscribe(
            topic="events.position.*",
            handler=lambda event: closed.append(event) if isinstance(event, PositionClosed) else None,
        )
        kept = settings.recorder([instrument], market.metadata)
        assert kept is not None
        engine.add_actor(OutcomeRecorder(kept))
        node.run()
        actor = only_actor(engine, InferenceActor)
        return Ran(engine.cache.orders(), predictions, closed, actor)


@pytest.mark.slow
def test_time_slices_change_an_instruments_version_but_never_with_a_position_open(
    market: Trades, split_settings: BacktestSettings, url: str, tmp_path: Path
) -> None:
    trades = market.between(0, 3000)
    slice_ns = int(trades.ts_event[-1] - trades.ts_event[0]) // 12
    split = start(url, split_settings.model, 0.5, unit=Unit.TIME, slice_ns=slice_ns)

    settings = replace(split_settings, cooldown_ns=0, latency_ns=300_000_000)  # some responses are always pending

    ran = run(trades, settings, tmp_path / "catalog")

    assert {prediction.split for prediction in ran.predictions} == {"exp-1"}
    changes = 0
    for before, after in zip(ran.predictions, ran.predictions[1:], strict=False):
        if before.version != after.version:
            changes += 1
            asked_ns = after.ts_init - settings.latency_ns
            assert not any(event.ts_opened < asked_ns < event.ts_closed for event in ran.closed)
            assert after.version == split.version_for("", after.feature_ts)
    assert changes >= 2
    assert any(prediction.pending_version_change for prediction in ran.predictions)
    assert 0 < sum(prediction.status == Status.SUPERSEDED for prediction in ran.predictions) < 100
    opened = Counter[str]()
    for event in ran.closed:
        version = ran.tags(event.opening_order_id)["version"]
        opened[version] += 1
        assert ran.tags(event.closing_order_id).get("version", version) == version  # none where the strategy stops
        meanwhile = [
            prediction for prediction in ran.predictions if event.ts_opened < prediction.ts_init < event.ts_closed
        ]
        assert {each.version for each in meanwhile if each.status == Status.OK} <= {version}
    assert opened["1.0"] > 2
    assert opened["1.1"] > 2
    with TrafficStore(url) as store:
        kept = store.read(ClosedTrade, "exp-1")
        assert Counter(each.version for each in kept) == opened
        assert [each.pnl for each in kept] == [event.realized_pnl.as_double() for event in ran.closed]
        assert {each.version for each in store.read(ScoredPrediction, "exp-1")} == {"1.0", "1.1"}
        windows = store.read(CallWindow, "exp-1")
        assert sum(window.requests for window in windows) == len(ran.predictions) + len(ran.actor.pending)
        assert {window.version for window in windows} == {"1.0", "1.1"}


@pytest.mark.slow
def test_without_a_split_a_backtest_is_the_same_with_and_without_a_store(
    market: Trades, split_settings: BacktestSettings, url: str
) -> None:
    few = market.between(0, 800)

    followed = run_backtest(few, split_settings)
    plain = run_backtest(few, replace(split_settings, traffic=None))

    same = [each.predictions.drop(columns="latency_ns") for each in (followed, plain)]
    pd.testing.assert_frame_equal(*same)
    pd.testing.assert_frame_equal(followed.fills, plain.fills)
    assert len(plain.fills) > 5
    with TrafficStore(url) as store:
        assert sum(each.requests for each in store.read(CallWindow, "")) == 800 - WINDOW
        assert len(store.read(ClosedTrade, "")) == followed.positions
        assert len(store.read(ScoredPrediction, "")) == (800 - WINDOW - 1) // 20


@pytest.mark.slow
def test_a_withdrawn_version_is_left_in_the_middle_of_a_run_whatever_is_open(
    market: Trades, split_settings: BacktestSettings, url: str
) -> None:
    start(url, split_settings.model, 1.0, kind=Kind.CANARY)
    trades, requested = market.between(0, 1280), list[int]()

    with TrafficStore(url) as store:

        def withdraw(done: int, total: int) -> None:
            if done == total // 2:
                store.end("exp-1", State.WITHDRAWN)
                until(lambda: store.users(split_settings.model, "1.1") == [])
                requested.append(sum(each.requests for each in store.read(CallWindow, "exp-1")))

        result = run_backtest(trades, split_settings, withdraw)

        windows = [*store.read(CallWindow, "exp-1"), *store.read(CallWindow, "")]
    calls = Counter[tuple[str, str]]()
    for window in windows:
        calls[window.split, window.version] += window.requests
    assert not result.gave_up
    assert calls == {("exp-1", "1.1"): requested[0], ("", "1.0"): 1280 - WINDOW - requested[0]}
    assert abs(requested[0] - (640 - WINDOW)) <= 1
    before = result.fills[result.fills["ts_ns"] < trades.ts_init[639]]
    assert before["quantity"].where(before["side"] == "BUY", -before["quantity"]).sum() != 0


@pytest.mark.slow
def test_challenger_that_dies_fails_alone(
    market: Trades,
    split_settings: BacktestSettings,
    url: str,
    register: Register,
    eager_archive: Path,
    tick_server: TorchServe,
) -> None:
    register(split_settings.model, eager_archive.parent / "run", "1.2")
    start(url, split_settings.model, 1.0, kind=Kind.CANARY, challenger="1.2")

    with TrafficStore(url) as store:

        def die(done: int, total: int) -> None:
            if done == total // 4:
                tick_server.management().unregister(split_settings.model, "1.2")
            if done == total // 2:
                store.end("exp-1", State.WITHDRAWN)
                until(lambda: store.users(split_settings.model, "1.2") == [])

        result = run_backtest(market.between(0, 1280), split_settings, die)

        windows = store.read(CallWindow, "exp-1")
    assert not result.gave_up
    assert result.failed == sum(window.errors for window in windows) == pytest.approx(320, abs=2)
    assert "UnknownModel" in result.last_error
    assert result.predictions["trade"].iloc[-1] > 1270


@pytest.mark.slow
def test_what_the_challengers_fit_saw_is_left_out_too(
    market: Trades, split_settings: BacktestSettings, url: str, register: Register, eager_archive: Path, tmp_path: Path
) -> None:
    alone = run_backtest(market, replace(split_settings, in_sample=False)).instruments[0].data
    later, cut = tmp_path / "run", int(alone.ts_event[199])
    shutil.copytree(eager_archive.parent / "run", later)
    description = json.loads((later / "model.json").read_text())
    for fit in description["fits"]:
        fit["last_ts_event"] = cut
    (later / "model.json").write_text(json.dumps(description))
    register(split_settings.model, later, "1.3")
    start(url, split_settings.model, 0.5, challenger="1.3")

    together = run_backtest(market, replace(split_settings, in_sample=False)).instruments[0].data

    assert len(together) == len(alone) - 200
    assert together.ts_event[0] > cut


@pytest.mark.slow
def test_the_script_follows_a_split(split_settings: BacktestSettings, url: str) -> None:
    start(url, split_settings.model, 1.0)
    options = ["--url", split_settings.url, "--model", split_settings.model, "--traffic", url, "--trades", "600"]

    result = CliRunner().invoke(
        script_app(PROJECT / "scripts/backtest.py"), ["tick", *options, "--seed", "2", "--in-sample", "--json"]
    )

    assert result.exit_code == 0, result.stderr
    with TrafficStore(url) as store:
        assert {(each.version, each.errors) for each in store.read(CallWindow, "exp-1")} == {("1.1", 0)}
        assert store.read(ScoredPrediction, "exp-1")
