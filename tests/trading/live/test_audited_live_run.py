"""A live replay with an audit log and metrics: both agree with the run, and a backtest of it does the same."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import pytest
from eager_archive import eager
from scraped import Samples, assert_equal_to_log, of, scrape, value
from typer.testing import CliRunner

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.audit.records import (
    AuditLog,
    DecisionRecord,
    FillRecord,
    OrderRecord,
    PlaybackRecord,
    RequestRecord,
)
from nautilus_torchserve.audit.story import story_of
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.instruments.instruments import perpetual, write_catalog
from nautilus_torchserve.trading.live.parity.recorded_run import count_lost, find_session
from support import PROJECT, script_app

pytestmark = pytest.mark.slow

TRADES, WARM_UP, FASTER = 600, 100, 20
LISTENERS = """
[audit]
url = "{log}"
[metrics]
port = {port}
[[actors]]
path = "scrape_at_stop:ScrapeAtStop"
config_path = "scrape_at_stop:ScrapeAtStopConfig"
config = {{ port = {port}, path = "{samples}" }}
"""


class CompletedRun(NamedTuple):
    """A run that has ended."""

    summary: dict[str, Any]
    samples: Samples
    log: AuditLog
    url: str
    catalog: Path


class PreparedRun(NamedTuple):
    """A run that can be started."""

    file: Path
    url: str
    port: int
    samples: Path


Prepare = Callable[[], PreparedRun]


@pytest.fixture(scope="module")
def trades() -> Trades:
    """The simulated market 20 times as dense: some 90 trades a second."""
    slow = load(None, 6000, 1).between(0, TRADES)
    first = slow.ts_init[0]
    faster = {name: first + (getattr(slow, name) - first) // FASTER for name in ("ts_event", "ts_init")}
    return replace(slow, **faster)


@pytest.fixture(scope="module")
def catalog(trades: Trades, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Catalog of the played trades."""
    folder = tmp_path_factory.mktemp("catalog")
    write_catalog(trades, perpetual(trades.instrument, 0.5), folder)
    return folder


@pytest.fixture(scope="module")
def archive(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the model."""
    return eager(tick_archive, tmp_path_factory.mktemp("eager"))


@pytest.fixture(scope="module")
def prepare(
    archive: Path, catalog: Path, replay_file: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Prepare:
    """Write the file of a run in real time, with a log of its own and a free port."""

    def prepared() -> PreparedRun:
        folder = tmp_path_factory.mktemp("audited")
        file = replay_file(f"mar:{archive}", WARM_UP, speed=1.0)
        played = f'trades = "{catalog}"\ninstruments = ["SIMUSD.SIM"]'
        text = file.read_text().replace(f"simulate = {WARM_UP}", played)
        text = text.replace("cooldown_ns = 0", "cooldown_ns = 110000000")  # the RiskEngine lets 10 orders a second pass
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url, samples = f"parquet:{folder}/audit", folder / "samples.json"
        file.write_text(text + LISTENERS.format(log=url, port=port, samples=samples))
        return PreparedRun(file, url, port, samples)

    return prepared


@pytest.fixture(scope="module")
def completed(prepare: Prepare, live_script: Callable[..., Any], catalog: Path) -> CompletedRun:
    """A run from the begin to the end of the data."""
    run = prepare()

    status, summary, err = live_script(run.file).wait()

    assert status == 0, err
    samples = {(name, tuple(map(tuple, labels))): value for name, labels, value in json.loads(run.samples.read_text())}
    return CompletedRun(summary, samples, existing_log(run.url), run.url, catalog)


def test_scraped_metrics_agree_with_the_summary(completed: CompletedRun) -> None:
    summary, samples = completed.summary, completed.samples

    assert of(samples, "model_questions_total", "fate") == {(fate,): n for fate, n in summary["questions"].items()}
    assert of(samples, "model_predictions_total", "version", "status") == {
        (version, status): n for version, statuses in summary["predictions"].items() for status, n in statuses.items()
    }
    assert of(samples, "trading_order_events_total", "event") == {
        (name.removeprefix("Order").lower(),): n for name, n in summary["order_events"].items()
    }
    assert value(samples, "trading_fills_total") == summary["fills"] > 5
    for side in ("BUY", "SELL"):
        filled = value(samples, "trading_filled_quantity_total", side=side.lower())
        assert filled == pytest.approx(float(summary["filled"]["SIMUSD.SIM"][side]), rel=1e-9)
    assert value(samples, "trading_position") == 0
    assert of(samples, "model_breaker_state", "state") == {("closed",): 1}
    assert value(samples, "trading_handler_errors_total") == 0
    assert value(samples, "event_loop_lag_seconds_count") > 10


def test_the_log_and_the_metrics_agree(completed: CompletedRun) -> None:
    run_id = find_session(completed.log).run_id

    assert_equal_to_log(completed.samples, completed.log, run_id)

    assert count_lost(completed.log, run_id) == 0
    assert [playback.ended for playback in completed.log.read(PlaybackRecord)] == [False, True]
    assert len({request.question for request in completed.log.read(RequestRecord)}) == TRADES - WARM_UP


def test_every_order_has_its_story(completed: CompletedRun) -> None:
    ordered = [decision for decision in completed.log.read(DecisionRecord) if decision.side]

    for decision in ordered:
        story = story_of(completed.log, decision.client_order_id)
        (request,) = story.requests
        assert request.outputs == decision.outputs
        assert request.question == decision.question
        assert request.ended_ns <= decision.ts_ns
        assert [event.event for event in story.events][:2] == ["INITIALIZED", "SUBMITTED"]
        assert str(story.filled) == story.events[0].quantity == f"{story.filled:.3f}"
        assert abs(story.slippage_bps or 0) < 10
    assert len(ordered) > 5


def test_a_backtest_of_it_has_equal_predictions_and_explained_orders(completed: CompletedRun, archive: Path) -> None:
    app = script_app(PROJECT / "scripts/parity.py")
    arguments = ["--log", completed.url, "--data", str(completed.catalog), "--url", f"mar:{archive}"]

    result = CliRunner().invoke(app, [*arguments, "--json"])

    report = json.loads(result.stdout)
    predictions, orders = report["predictions"], report["orders"]
    assert (result.exit_code, report["holds"], report["lost"]) == (0, True, 0)
    assert predictions["features_equal"] == predictions["asked"] == TRADES - WARM_UP
    assert predictions["outputs_equal"] == predictions["answered"] > 0.9 * predictions["asked"]
    assert orders["live"] == len({event.client_order_id for event in completed.log.read(OrderRecord)})
    assert orders["equal"] > 0.5 * orders["live"]
    assert all(difference["explanation"] for difference in orders["differences"])


def test_kill_9_of_a_live_run_costs_no_more_than_the_last_second(
    prepare: Prepare, live_script: Callable[..., Any]
) -> None:
    run = prepare()
    script = live_script(run.file)
    seen: list[tuple[float, Samples]] = []

    while not seen or seen[-1][0] - seen[0][0] < 3.0:
        samples = watch(run.port, until_questions=60)
        seen.append((time.monotonic(), samples))
    script.process.kill()
    killed = time.monotonic()
    script.process.communicate()

    log = existing_log(run.url)
    at, due = [(at, samples) for at, samples in seen if at <= killed - 1.0][-1]
    assert killed - at < 2.0
    assert len(log.read(RequestRecord)) >= value(due, "model_questions_total") > 50
    assert len(log.read(FillRecord)) >= value(due, "trading_fills_total") > 0
    log.tidy()
    assert len(log.read(RequestRecord)) >= value(due, "model_questions_total")


def watch(port: int, until_questions: int, within_s: float = 30.0) -> Samples:
    """Return a scrape that counts at least so many requests."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            samples = scrape(port)
        except URLError:
            samples = {}
        if value(samples, "model_questions_total") >= until_questions:
            return samples
        time.sleep(0.05)
    raise AssertionError("no questions were counted in time")
