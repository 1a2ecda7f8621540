"""A recorded run and its backtest agree to the bit; differing orders are explained by the records or reported."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audited_run import SIZE, audited_run, strategy_config
from eager_archive import eager
from nautilus_trader.common.actor import Actor
from nautilus_trader.model.instruments import Instrument
from small_trades import MS
from typer.testing import CliRunner

from nautilus_torchserve.audit.opening import existing_log, open_log
from nautilus_torchserve.audit.records import (
    DecisionRecord,
    FillRecord,
    OrderRecord,
    PlaybackRecord,
    RequestRecord,
    SessionRecord,
)
from nautilus_torchserve.features.tick import tick_features
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.trading.backtest.engine import importable_strategy
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.instruments.instruments import perpetual, write_catalog
from nautilus_torchserve.trading.live.audit.actor import AuditActor, AuditActorConfig
from nautilus_torchserve.trading.live.parity.parity import ParityReport, compare_run
from nautilus_torchserve.trading.live.parity.recorded_run import NoParity
from nautilus_torchserve.trading.live.replay.client import PLAYBACK_TOPIC, Playback
from nautilus_torchserve.trading.prediction import Prediction, Status
from support import PROJECT, script_app

WINDOW = 32
FIRST, COUNT = 40, 300
"""Questions of the recorded runs."""
SHIFT = 7_000_000_000_000
"""Shift of all times when they were played (nanoseconds)."""
Tamper = Callable[[list[Prediction]], list[Prediction]]


@pytest.fixture(scope="module")
def trades() -> Trades:
    """The recorded market: 4 trades a second."""
    return load(None, 6000, 3).between(0, FIRST + COUNT)


@pytest.fixture(scope="module")
def played(trades: Trades) -> Trades:
    """The same market, shifted to the time of its replay."""
    return replace(trades, ts_event=trades.ts_event + SHIFT, ts_init=trades.ts_init + SHIFT)


@pytest.fixture(scope="module")
def archive(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the model."""
    return eager(tick_archive, tmp_path_factory.mktemp("eager"))


@pytest.fixture(scope="module")
def answers(trades: Trades, archive: Path) -> dict[str, Any]:
    """The model's outputs for each row of features, its version and its digest."""
    rows = tick_features(trades.price, trades.size, trades.side, trades.ts_event, WINDOW)
    with connect(f"mar:{archive}", "tick") as client:
        response = client.predict(rows[WINDOW:])
    return {"rows": rows, "outputs": response.outputs, "version": response.version, "digest": response.digest}


def predicted(played: Trades, answers: dict[str, Any], instrument: Instrument) -> list[Prediction]:
    """Return a prediction on each trade, received 1 to 9 ms after it."""
    random = np.random.default_rng(5)
    predictions = []
    for number in range(FIRST, FIRST + COUNT):
        received = int(played.ts_init[number])
        outputs = {name: values.item(number - WINDOW) for name, values in answers["outputs"].items()}
        prediction = Prediction(
            ts_event=int(played.ts_event[number]),
            ts_init=received + int(random.integers(1, 9) * MS),
            instrument_id=instrument.id,
            model="tick",
            version=answers["version"],
            archive_digest=answers["digest"],
            outputs=outputs,
            feature_ts=int(played.ts_event[number]),
            latency_ns=MS,
            number=number - 8,
        )
        prediction.sent_features = answers["rows"][number]
        predictions.append(prediction)
    return sorted(predictions, key=lambda prediction: prediction.ts_init)


class PlaybackActor(Actor):
    """Describes the played data, as a replay does, and halts at a given time."""

    def __init__(self, trades: Trades, halt_ns: int | None) -> None:
        super().__init__()
        self._trades, self._halt_ns = trades, halt_ns

    def on_start(self) -> None:
        playback = Playback(SHIFT, self._trades.source, self._trades.sha256, 0, ended=False)
        self.msgbus.publish(topic=PLAYBACK_TOPIC, msg=playback)
        if self._halt_ns is not None:
            self.clock.set_time_alert_ns("halt", self._halt_ns, self._halt)

    def _halt(self, event: Any) -> None:
        self.msgbus.publish(topic=HALT_TOPIC, msg=Halt("kill file", event.ts_event))


@pytest.fixture
def record(trades: Trades, played: Trades, answers: dict[str, Any], tmp_path: Path) -> Callable[..., str]:
    """Record a run, with predictions that were tampered with; return its log's URL."""

    def recorded(tamper: Tamper = lambda predictions: predictions, halt_ns: int | None = None, **options: Any) -> str:
        url = f"parquet:{tmp_path}"
        own = {name: value for name, value in options.items() if name not in ("order_latency_ns", "submit_rate")}
        own = {"min_probability": 0.34, "cooldown_ns": 500 * MS, "on_failure": "flatten", "failure_grace_ns": 0, **own}

        def actors(instrument: Instrument) -> list[Actor]:
            config = AuditActorConfig(
                url=url,
                models=["tick"],
                instrument_ids=[instrument.id],
                strategies=(importable_strategy(strategy_config(instrument, **own)),),
            )
            return [AuditActor(config), PlaybackActor(trades, halt_ns)]

        with audited_run(
            lambda instrument: tamper(predicted(played, answers, instrument)),
            actors,
            market=played,
            **{**options, **own},
        ):
            pass
        return url

    return recorded


@pytest.fixture
def compare(record: Callable[..., str], trades: Trades, archive: Path) -> Callable[..., ParityReport]:
    """Record a run and compare it."""

    def compared(*tamper: Tamper, **options: Any) -> ParityReport:
        return compare_run(existing_log(record(*tamper, **options)), trades, [f"mar:{archive}"])

    return compared


def test_a_run_on_time_is_equal_to_the_bit_and_to_the_order(compare: Callable[..., ParityReport]) -> None:
    report = compare()

    assert report.holds
    counts, orders = report.predictions, report.orders
    assert (counts.requests, counts.features_equal, counts.answered, counts.outputs_equal) == (COUNT,) * 4
    assert orders.live == orders.backtest == orders.equal > 20
    assert orders.most_apart_ns == 0
    assert orders.differences == ()


def test_a_bit_that_differs_is_found(compare: Callable[..., ParityReport]) -> None:
    def tamper(predictions: list[Prediction]) -> list[Prediction]:
        predictions[10].outputs["buy"] = float(np.nextafter(np.float32(predictions[10].outputs["buy"]), np.float32(1)))
        predictions[20].sent_features = np.nextafter(predictions[20].sent_features, np.float32(1))
        return predictions

    report = compare(tamper)

    assert not report.holds
    assert (report.predictions.features_equal, report.predictions.outputs_equal) == (COUNT - 1, COUNT - 1)
    first, second = sorted(report.predictions.differences, key=lambda difference: difference.ts_event)
    assert first.what.startswith("outputs {'buy':")
    assert second.what.startswith("features [")


def degrade(predictions: list[Prediction]) -> list[Prediction]:
    """Return the predictions without responses to the requests 100 to 104."""
    good = predictions[99]
    for place in range(100, 105):
        lost = predictions[place]
        failed = replace(good, ts_init=lost.ts_init, ts_event=lost.ts_event, status=Status.DEGRADED, latency_ns=0)
        failed.sent_features, failed.question = lost.sent_features, lost.number
        predictions[place] = failed
    return predictions


def test_decisions_without_a_response_are_explained_and_so_are_those_that_follow(
    compare: Callable[..., ParityReport],
) -> None:
    report = compare(degrade)

    assert report.holds
    assert report.predictions.requests == COUNT
    assert report.predictions.answered == COUNT - 5
    first, *others = report.orders.differences
    assert first.backtest == ""
    assert "on a prediction that was DEGRADED, which a backtest has not (no answer in time: fl" in first.explanation
    assert "FAILED (NoConnection: refused)" in first.explanation
    assert others
    assert all(
        "follows from an earlier difference, that of question" in difference.explanation for difference in others
    )


def test_fills_that_came_later_are_explained_by_the_quotes_of_that_time(compare: Callable[..., ParityReport]) -> None:
    report = compare(order_latency_ns=40 * MS)

    assert report.holds
    assert report.orders.equal < report.orders.live
    assert any(
        "ms later than in the backtest, at the market of" in difference.explanation
        for difference in report.orders.differences
    )


def test_an_order_in_flight_is_explained(compare: Callable[..., ParityReport]) -> None:
    report = compare(order_latency_ns=2_000 * MS, cooldown_ns=0)

    assert report.holds
    assert any(
        "was still in flight in the live run" in difference.explanation for difference in report.orders.differences
    )


def test_an_order_that_was_denied_is_explained_by_who_denied_it(compare: Callable[..., ParityReport]) -> None:
    report = compare(submit_rate="2/00:01:00", cooldown_ns=0)

    assert report.holds
    denied = [difference for difference in report.orders.differences if "DENIED" in difference.live]
    assert "DENIED in the live run: " in denied[0].explanation
    assert "Exceeded MAX_ORDER_SUBMIT_RATE" in denied[0].explanation


def test_halts_are_played_again(compare: Callable[..., ParityReport], played: Trades) -> None:
    report = compare(halt_ns=int(played.ts_init[FIRST + COUNT // 2]) + 50 * MS)

    assert (report.halts, report.holds, report.orders.differences) == (1, True, ())
    assert report.orders.live == report.orders.backtest < 100


def test_a_difference_that_no_record_shows_is_unexplained(
    record: Callable[..., str], trades: Trades, archive: Path
) -> None:
    url = record()
    log = existing_log(url)
    (session,) = [session for session in log.read(SessionRecord) if session.event == "STARTED"]
    (other,) = json.loads(session.strategies)
    other["config"]["min_probability"] = 0.6  # not what traded
    changed = replace(session, run_id="changed", wall_ns=session.wall_ns + 1, strategies=json.dumps([other]))
    copy = open_log(url)
    copy.keep([changed])
    for kind in (RequestRecord, DecisionRecord, OrderRecord, FillRecord, PlaybackRecord):
        records = [replace(original, run_id="changed") for original in log.read(kind, run_id=session.run_id)]
        if records:
            copy.keep(records)
    copy.close()

    report = compare_run(existing_log(url), trades, [f"mar:{archive}"])

    assert report.run_id == "changed"
    assert not report.orders.explained
    assert report.orders.differences[0].explanation == ""
    assert not report.holds


def test_a_log_with_a_gap_does_not_hold(record: Callable[..., str], trades: Trades, archive: Path) -> None:
    url = record()
    folder = Path(url.removeprefix("parquet:")) / "fills"
    for path in folder.iterdir():
        path.unlink()

    report = compare_run(existing_log(url), trades, [f"mar:{archive}"])

    assert report.lost > 10
    assert not report.holds


def test_the_script_prints_the_report_in_words_and_as_json(
    record: Callable[..., str], trades: Trades, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url, app, runner = record(degrade), script_app(PROJECT / "scripts/parity.py"), CliRunner()
    catalog = tmp_path_factory.mktemp("catalog")
    write_catalog(trades, perpetual(trades.instrument, 1.0), catalog)
    options = ["--log", url, "--url", f"mar:{archive}"]

    in_words = runner.invoke(app, [*options, "--data", str(catalog)])
    as_json = runner.invoke(app, [*options, "--data", str(catalog), "--json"])
    refused = runner.invoke(app, [*options, "--trades", "6000", "--seed", "3"])  # more than was played
    unknown = runner.invoke(app, [*options, "--run-id", "none"])

    assert "holds" in in_words.stderr
    assert "on a prediction that was DEGRADED" in " ".join(in_words.stderr.replace("│", "").split())
    report = json.loads(as_json.stdout)
    assert report["predictions"]["features_equal"] == report["predictions"]["asked"] == COUNT
    assert report["orders"]["differences"][0]["explanation"].startswith("on a prediction that was DEGRADED")
    assert (in_words.exit_code, as_json.exit_code, refused.exit_code, unknown.exit_code) == (0, 0, 1, 1)
    assert runner.invoke(app, []).exit_code == 2
    assert "the data that were played" in refused.stderr
    assert "expected run none in the log, got none" in unknown.stderr


def test_other_data_and_other_archives_are_refused(
    record: Callable[..., str], trades: Trades, tick_archive: Path
) -> None:
    log = existing_log(record())

    with pytest.raises(NoParity, match="the data that were played"):
        compare_run(log, trades.between(1, len(trades)), ["mar:unread"])
    with pytest.raises(NoParity, match=r"expected tick 1.0 of archive .* which answered, at mar:.*, got none"):
        compare_run(log, trades, [f"mar:{tick_archive}"])  # another archive of the same version


def test_a_response_before_its_request_is_refused(record: Callable[..., str], trades: Trades) -> None:
    def early(predictions: list[Prediction]) -> list[Prediction]:
        return [replace_init(prediction) for prediction in predictions]

    def replace_init(prediction: Prediction) -> Prediction:
        moved = replace(prediction, ts_event=prediction.ts_event, ts_init=prediction.ts_event - 1)
        moved.sent_features = prediction.sent_features
        return moved

    log = existing_log(record(early))

    with pytest.raises(NoParity, match=r"expected data played at speed 1, got an answer 0.000 ms before its question"):
        compare_run(log, trades, ["mar:unread"])


def test_the_strategies_config_is_that_of_the_run(record: Callable[..., str]) -> None:
    (session, _) = existing_log(record()).read(SessionRecord)

    (strategy,) = json.loads(session.strategies)

    assert strategy["config"]["trade_size"] == str(SIZE)
