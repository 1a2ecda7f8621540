"""The log holds all that a run did, and shows of each order why it was sent and what came of it."""

import io
import json
from pathlib import Path

import nautilus_trader
import pytest
from audited_run import DIGEST, SIZE, audited_run, prediction_on
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from rich.console import Console
from small_trades import MS, START
from typer.testing import CliRunner

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.audit.records import (
    KINDS,
    DecisionRecord,
    FillRecord,
    LogFailed,
    OrderRecord,
    RequestRecord,
    SessionRecord,
)
from nautilus_torchserve.audit.story import UnknownOrder, orders, story_of
from nautilus_torchserve.cli.audit import story_table
from nautilus_torchserve.trading.backtest.engine import importable_strategy
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.live.audit.actor import AuditActor, AuditActorConfig
from nautilus_torchserve.trading.live.parity.recorded_run import UnknownRun, count_lost, find_session
from nautilus_torchserve.trading.prediction import Prediction, Status
from strategies.tick_strategy import TickStrategyConfig
from support import PROJECT, script_app

COLUMNS = ("return_bps", "flow_imbalance", "relative_size", "relative_gap")


def predictions(instrument: Instrument) -> list[Prediction]:
    """Return predictions to go long at 40, nothing at 50, no response at 60, short at 70; the end closes that."""
    degraded = {
        "status": Status.DEGRADED,
        "ts_event": START + 6_000 * MS,
        "ts_init": START + 6_004 * MS,
        "latency_ns": 0,
    }
    return [
        prediction_on(40, 0.75, 0.125, instrument),
        prediction_on(50, 0.375, 0.3125, instrument),
        prediction_on(50, 0.375, 0.3125, instrument, **degraded),
        prediction_on(70, 0.125, 0.75, instrument),
    ]


def audit_actor(instrument: Instrument, url: str) -> AuditActor:
    strategy = importable_strategy(TickStrategyConfig(instrument_id=instrument.id, trade_size=SIZE))
    return AuditActor(
        AuditActorConfig(
            url=url,
            models=["tick"],
            instrument_ids=[instrument.id],
            source="small market",
            strategies=(strategy,),
        )
    )


def run_with_log(url: str) -> BacktestEngine:
    with audited_run(predictions, lambda instrument: [audit_actor(instrument, url)]) as engine:
        return engine


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A log that one run has left."""
    url = f"parquet:{tmp_path_factory.mktemp('audit')}"
    run_with_log(url)
    return url


def test_every_request_decision_order_and_fill_is_in_the_log(url: str) -> None:
    log = existing_log(url)

    requests, decisions = log.read(RequestRecord), log.read(DecisionRecord)
    events, fills = log.read(OrderRecord), log.read(FillRecord)

    assert [(request.question, request.fate) for request in requests] == [
        (40, "ANSWERED"),
        (50, "ANSWERED"),
        (50, "FAILED"),
        (70, "ANSWERED"),
    ]
    assert requests[0].features.tolist() == [40.0, 0.5, 0.25, 0.125]
    assert requests[0].outputs == {"buy": 0.75, "sell": 0.125, "hold": 0.125}
    assert [(decision.side, decision.quantity, decision.position, decision.why) for decision in decisions] == [
        ("BUY", "0.010", "0", "ordered"),
        ("", "0", "0.010", "below min_probability"),
        ("", "0", "0.010", "no answer in time: hold"),
        ("SELL", "0.020", "0.010", "ordered"),
    ]
    assert [decision.age_ns for decision in decisions] == [4 * MS, 4 * MS, 1_004 * MS, 4 * MS]
    # 41st trade is a buy at 50,000.40; the next would be a sell
    assert (decisions[0].last, decisions[0].digest) == ("50000.40", DIGEST)
    sent = [event.client_order_id for event in events if event.event == "INITIALIZED"]
    assert sent[:2] == [decisions[0].client_order_id, decisions[3].client_order_id]
    assert len(sent) == 3  # the third closes the position at the end, after actors were stopped
    assert [sum(fill.client_order_id == order for fill in fills) >= 1 for order in sent] == [True] * 3
    assert count_lost(log, requests[0].run_id) == 0


def test_a_run_has_a_begin_with_what_a_backtest_needs_and_an_end(url: str) -> None:
    log = existing_log(url)

    first, last = log.read(SessionRecord)

    assert (first.event, last.event, first.seq, first.source) == ("STARTED", "STOPPED", 0, "small market")
    (strategy,) = json.loads(first.strategies)
    assert strategy["strategy_path"] == "strategies.tick_strategy:TickStrategy"
    assert strategy["config"]["trade_size"] == str(SIZE)
    (instrument,) = json.loads(first.instruments)
    assert instrument["id"] == "BTCUSDT.BINANCE"
    assert first.packages["nautilus_trader"] == nautilus_trader.__version__
    assert first.packages["nautilus-torchserve"].startswith("0.2.0 (commit ")
    assert find_session(log).run_id == find_session(log, first.run_id).run_id == first.run_id
    with pytest.raises(UnknownRun, match="expected run none in the log"):
        find_session(log, "none")


def test_the_log_agrees_with_what_the_engine_booked(tmp_path: Path) -> None:
    url = f"parquet:{tmp_path}"

    with audited_run(predictions, lambda instrument: [audit_actor(instrument, url)]) as engine:
        booked = {order.client_order_id.value: order for order in engine.cache.orders()}
        fees = sum(fee.as_decimal() for order in booked.values() for fee in order.commissions())

    log = existing_log(url)
    listed = {order["order_id"]: order for order in orders(log)}
    assert listed.keys() == booked.keys()
    for order_id, order in booked.items():
        story = story_of(log, order_id)
        assert (listed[order_id]["side"], listed[order_id]["event"]) == (order.side.name, "FILLED")
        assert story.filled == order.quantity.as_decimal() == order.filled_qty.as_decimal()
        assert float(story.average_price or 0) == pytest.approx(order.avg_px, rel=1e-12)
    assert sum(sum(story_of(log, order_id).fees.values()) for order_id in booked) == fees


def test_an_orders_story_goes_from_the_request_to_the_fill(url: str) -> None:
    log = existing_log(url)
    (order_id,) = (decision.client_order_id for decision in log.read(DecisionRecord) if decision.side == "BUY")

    story = story_of(log, order_id)
    console = Console(width=400, file=io.StringIO())
    console.print(story_table(story, COLUMNS))
    text = console.file.getvalue()

    assert story.features(COLUMNS) == dict(zip(COLUMNS, [40.0, 0.5, 0.25, 0.125], strict=True))
    # quotes around the buy at 50,000.40: bid 50,000.30; it fills a step above the ask
    assert story.decision is not None
    middle = (float(story.decision.bid) + float(story.decision.ask)) / 2
    assert float(story.slippage_bps or 0) == pytest.approx(1e4 * (float(story.average_price or 0) / middle - 1))
    assert float(story.slippage_bps or 0) > 0
    for line in (
        "event 40 of BTCUSDT.BINANCE at the venue",
        "+0.500 ms",
        "request to tick at http://127.0.0.1:8080: return_bps 40, flow_imbalance 0.5",
        "+4.000 ms",
        f"tick 1.0 ({DIGEST[:12]}) predicted buy 0.75, sell 0.125, hold 0.125",
        "decided at an age of 4.000 ms, position 0: BUY 0.010: ordered; bid",
        "order INITIALIZED BUY 0.010 MARKET [model=tick, version=1.0",
        "order SUBMITTED",
        "filled BUY 0.010 at 50000.",
        "bps worse than",
    ):
        assert line in text


def test_an_order_without_a_prediction_has_a_story_too(url: str) -> None:
    log = existing_log(url)
    decided = {decision.client_order_id for decision in log.read(DecisionRecord)}
    (closing,) = {order["order_id"] for order in orders(log)} - decided

    story = story_of(log, closing)

    assert (story.decision, story.requests, story.slippage_bps) == (None, (), None)
    assert [event.event for event in story.events] == ["INITIALIZED", "SUBMITTED"]
    assert story.filled == SIZE


def test_an_order_on_a_prediction_that_repeats_the_last_good_one_shows_both_requests(tmp_path: Path) -> None:
    def repeated(instrument: Instrument) -> list[Prediction]:
        again = {"status": Status.DEGRADED, "ts_event": START + 6_000 * MS, "ts_init": START + 6_004 * MS}
        return [
            prediction_on(50, 0.75, 0.125, instrument, pending_version_change=True),
            prediction_on(50, 0.75, 0.125, instrument, **again),
        ]

    url = f"parquet:{tmp_path}"
    with audited_run(repeated, lambda instrument: [audit_actor(instrument, url)], on_failure="last_good"):
        pass

    log = existing_log(url)
    (order_id,) = (decision.client_order_id for decision in log.read(DecisionRecord) if decision.side)
    story = story_of(log, order_id)
    assert [(request.fate, request.error) for request in story.requests] == [
        ("FAILED", "NoConnection: refused"),
        ("ANSWERED", ""),
    ]
    assert story.decision is not None
    assert story.decision.status == "DEGRADED"


def test_a_halt_is_kept(tmp_path: Path) -> None:
    url = f"parquet:{tmp_path}"
    halted = Halt("daily loss of 512.30 USDT, at most 500 allowed", START)

    with audited_run(predictions, lambda instrument: [audit_actor(instrument, url)]) as engine:
        engine.kernel.msgbus.publish(topic=HALT_TOPIC, msg=halted)

    (kept,) = existing_log(url).read(next(kind for kind in KINDS if kind.kind == "halts"))
    assert kept.reason == halted.reason


def test_the_same_order_of_two_runs_needs_the_runs_name(tmp_path: Path) -> None:
    url = f"parquet:{tmp_path}"
    run_with_log(url)
    run_with_log(url)
    log = existing_log(url)
    order_id = orders(log)[0]["order_id"]
    runs = sorted({order["run_id"] for order in orders(log)})

    with pytest.raises(UnknownOrder, match=f"expected {order_id} of one run, got {runs[0]}, {runs[1]}"):
        story_of(log, order_id)

    assert story_of(log, order_id, runs[1]).run_id == runs[1]


def test_the_script_prints_stories_and_lists_orders(url: str) -> None:
    app, runner = script_app(PROJECT / "scripts/audit.py"), CliRunner()

    listed = json.loads(runner.invoke(app, ["--list", "--log", url, "--json"]).stdout)["orders"]
    in_words = runner.invoke(app, [listed[0]["order_id"], "--log", url])
    as_json = json.loads(runner.invoke(app, [listed[0]["order_id"], "--log", url, "--json"]).stdout)
    unknown = runner.invoke(app, ["O-NONE", "--log", url])
    wrong = runner.invoke(app, ["--log", url])

    assert [order["event"] for order in listed] == ["FILLED"] * 3
    assert "event 40 of BTCUSDT.BINANCE at the venue" in in_words.stderr
    assert as_json["features"]["flow_imbalance"] == 0.5
    assert as_json["decision"]["why"] == "ordered"
    assert (in_words.exit_code, unknown.exit_code, wrong.exit_code) == (0, 1, 2)
    assert "expected an order in the log, got 'O-NONE'" in unknown.stderr
    assert "error: expected a log's folder" in runner.invoke(app, ["--list", "--log", "parquet:/none"]).stderr


def test_an_unwritable_log_is_refused_before_any_trading(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LogFailed, match="expected a folder that can be written"):
        run_with_log(f"parquet:{tmp_path}/file")


BTC = InstrumentId.from_str("BTCUSDT.BINANCE")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": ""}, "expected url of a log, got none"),
        ({"instrument_ids": []}, "expected instrument_ids of at least 1 instrument, got none"),
        ({"flush_s": 2.0}, "expected flush_s in \\(0, 1\\], got 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        AuditActorConfig(**{"url": "x", "models": ["tick"], "instrument_ids": [BTC], **wrong})
