"""A whole live run offline: Binance's adapter, paper orders, a real TorchServe, and everything that can fail failing.

The venue is on this machine (`loopback_venue`), the server is reached through a proxy that delays (`tcp_proxy`).
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from eager_archive import NEVER_HOLD, eager
from loopback_venue import LoopbackVenue
from tcp_proxy import Proxy
from tick_versions import made
from witness import BEAT_S, read_events, witnessed

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.serving.server.torchserve import (
    ServerSettings,
    TorchServe,
    find_server,
    restart_server,
    start_server,
)
from support import until

pytestmark = pytest.mark.slow

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
MAX_AGE_NS = 300_000_000
DEADLINE_NS = 200_000_000
OUTAGE_S = 5.0
WITHIN_S = 30.0
CONFIG = """
[node]
settle_s = 0.2
summary_file = "{summary}"
[market]
kind = "binance"
environment = "live"
http_url = "{http_url}"
ws_url = "{ws_url}"
api_key_env = "LOOPBACK_KEY"
api_secret_env = "LOOPBACK_SECRET"
[execution]
kind = "sandbox"
balance = "100000 USDT"
[model]
kind = "tick"
[model.actor]
url = "{url}"
instrument_id = "{instrument}"
warm_up_ns = "1h"
[model.actor.live]
deadline_ns = {deadline_ns}
token_file = "{token_file}"
probe_after_ns = "100ms"
max_probe_after_ns = "500ms"
[strategy]
trade_size = "0.01"
max_position = "0.01"
min_probability = 0.34
max_age_ns = {max_age_ns}
cooldown_ns = "100ms"
on_failure = "hold"
[risk]
max_daily_loss = "5000"
[risk.max_notional_per_order]
"{instrument}" = 2000
{witness}
"""


@dataclass
class Scene:
    """The run: its files, its phases and its events."""

    lines: Path
    """File that the witness writes."""
    summary_path: Path
    """File of the run's summary."""
    marks: dict[str, int] = field(default_factory=dict)
    """Phase -> lines written when it began."""
    status: int = -1
    summary: dict[str, Any] = field(default_factory=dict)
    err: str = ""

    def events(self, kind: str, since: str = "start", until: str | None = None) -> list[dict[str, Any]]:
        """Return the events of a kind from one phase to another."""
        lines = read_events(self.lines)[self.marks.get(since, 0) : None if until is None else self.marks[until]]
        return [line for line in lines if line["kind"] == kind]

    def fates(self, since: str = "start", until: str | None = None) -> dict[int, str]:
        """Return number -> fate of the requests that ended then."""
        calls = self.events("call", since, until)
        return {number: fate for call in calls for number, fate in zip(call["numbers"], call["fates"], strict=True)}

    def states(self, since: str, until: str | None = None) -> list[str]:
        """Return the states of the server's breaker."""
        return [line["state"] for line in self.events("health", since, until)]

    def begin(self, phase: str) -> None:
        self.marks[phase] = len(read_events(self.lines))

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        until(condition, WITHIN_S, what)

    def wait_for_answers(self, phase: str, count: int = 20) -> None:
        self.begin(phase)
        self.wait(lambda: list(self.fates(phase).values()).count("ANSWERED") >= count, f"{count} answers after {phase}")


@pytest.fixture(scope="module")
def trades() -> Trades:
    """Some 90 trades a second."""
    simulated = load(None, 9000, seed=1)
    ts = simulated.ts_event[0] + (simulated.ts_event - simulated.ts_event[0]) // 20
    return replace(simulated, instrument=Instrument("BTCUSDT", "BINANCE", 2, 3), ts_event=ts, ts_init=ts)


@pytest.fixture(scope="module")
def server(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    folder = tmp_path_factory.mktemp("offline")
    store = folder / "store"
    store.mkdir()
    eager(tick_archive, store)
    made(tick_archive, store / "tick-1.1.mar", "1.1", None, NEVER_HOLD)
    settings = ServerSettings({"tick": "tick.mar"}, store, folder / "home", free_ports=True)
    start_server(settings)
    first = find_server(settings.home)
    assert first is not None
    yield first
    running = find_server(settings.home)
    if running is not None:
        running.stop()


@pytest.fixture(scope="module")
def scene(
    server: TorchServe, trades: Trades, live_script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Scene:
    """The run from its start to its end, through all that fails."""
    folder = tmp_path_factory.mktemp("run")
    scene = Scene(folder / "lines.jsonl", folder / "summary.json")
    with LoopbackVenue(trades, past=200) as venue, Proxy(server.inference_url) as proxy:
        config = folder / "live.toml"
        config.write_text(
            CONFIG.format(
                http_url=venue.http_url,
                ws_url=venue.ws_url,
                url=proxy.url,
                instrument=INSTRUMENT,
                deadline_ns=DEADLINE_NS,
                max_age_ns=MAX_AGE_NS,
                token_file=server.home / "key_file.json",
                summary=scene.summary_path,
                witness=witnessed(scene.lines),
            )
        )
        run = live_script(config, LOOPBACK_KEY="key", LOOPBACK_SECRET="secret")
        scene.wait(lambda: scene.lines.exists() or run.process.poll() is not None, "a start")
        scene.wait(lambda: run.process.poll() is not None or len(orders(scene)) >= 5, "orders")
        if run.process.poll() is None:
            play(scene, server, proxy, venue)
            run.process.send_signal(signal.SIGINT)
        scene.status, scene.summary, scene.err = run.wait()
    return scene


def play(scene: Scene, server: TorchServe, proxy: Proxy, venue: LoopbackVenue) -> None:
    """Let everything fail, one after the other, and wait each time until the run has found its way back."""
    scene.begin("worker killed")
    kill_worker(server)
    scene.wait(lambda: any(fate != "ANSWERED" for fate in scene.fates("worker killed").values()), "a failure")
    scene.wait_for_answers("worker back")

    scene.begin("answers late")
    proxy.delay_s = 1.5 * DEADLINE_NS / 1e9
    scene.wait(lambda: "LATE" in scene.fates("answers late").values(), "a late answer")
    proxy.delay_s = 0.0
    scene.wait_for_answers("answers in time")

    scene.begin("server stopped")
    server.stop()
    outage_ends = time.monotonic() + OUTAGE_S
    scene.wait(lambda: "open" in scene.states("server stopped"), "an open breaker")
    scene.wait(lambda: time.monotonic() > outage_ends, "the outage's end")
    restarted = restart_server(server.home)
    scene.wait_for_answers("server back")

    scene.begin("version swapped")
    manager = restarted.management()
    manager.register("tick-1.1.mar", model_name="tick")
    manager.wait_ready("tick", "1.1")
    manager.set_default("tick", "1.1")
    scene.wait(lambda: any(call["version"] == "1.1" for call in scene.events("call", "version swapped")), "version 1.1")
    scene.wait_for_answers("new version")

    scene.begin("stream cut")
    venue.cut()
    missed = venue.sent
    scene.wait(lambda: venue.sent > missed + 50, "trades that no client received")
    scene.begin("stream resumed")
    venue.resume()
    scene.wait_for_answers("stream back")
    scene.wait(lambda: bool(orders(scene, "stream back")), "an order after the stream came back")


def orders(scene: Scene, since: str = "start", until: str | None = None) -> list[dict[str, Any]]:
    """Return the decisions on which orders were sent."""
    return [line for line in scene.events("decision", since, until) if line["order"]]


def kill_worker(server: TorchServe) -> None:
    workers = [
        process for process in psutil.Process(server.pid).children(recursive=True)
        if any("model_service_worker" in part for part in process.cmdline())
    ]  # fmt: skip
    assert workers
    for worker in workers:
        worker.kill()


def test_clean_exit(scene: Scene) -> None:
    assert scene.status == 0, scene.err[-5000:]
    assert scene.summary["ending"] == "signal SIGINT"
    assert not scene.summary["failed"]


def test_flat_at_the_end_and_no_fill_lost(scene: Scene) -> None:
    fills = [line for line in scene.events("order") if line["event"] == "OrderFilled"]
    net = sum(Decimal(line["quantity"]) * (1 if line["side"] == "BUY" else -1) for line in fills)

    assert len(fills) == scene.summary["fills"] > 10
    assert scene.summary["fills_lost"] == 0
    assert net == 0
    assert scene.summary["position"] == {INSTRUMENT: "0"}
    assert scene.summary["flat"]


def test_orders_follow_good_and_young_predictions_only(scene: Scene) -> None:
    sent = orders(scene)
    decided = {line["order"] for line in sent}
    submitted = {line["order"] for line in scene.events("order") if line["event"] == "OrderSubmitted"}

    assert {line["status"] for line in sent} == {"OK"}
    assert max(line["age_ns"] for line in sent) <= MAX_AGE_NS
    assert decided <= submitted
    assert len(submitted - decided) <= 1  # what closed the position at the end


def test_no_decision_is_based_on_a_late_or_missing_response(scene: Scene) -> None:
    without = {number for number, fate in scene.fates().items() if fate != "ANSWERED"}
    good = {line["number"] for line in scene.events("decision") if line["status"] == "OK"}
    degraded = [line for line in scene.events("decision") if line["status"] == "DEGRADED"]

    assert without
    assert not without & good
    assert degraded
    assert {line["why"] for line in degraded} == {"no answer in time: hold"}


def test_every_request_ended_once(scene: Scene) -> None:
    numbers = [number for call in scene.events("call") for number in call["numbers"]]

    assert len(numbers) == len(set(numbers))
    assert sorted(numbers) == list(range(min(numbers), max(numbers) + 1))


def test_a_killed_worker_and_late_responses_cost_responses_only(scene: Scene) -> None:
    killed = scene.fates("worker killed", "worker back")
    late = scene.fates("answers late", "answers in time")

    assert set(killed.values()) & {"FAILED", "EXPIRED", "LATE"}
    assert "LATE" in late.values()
    assert not orders(scene, "worker killed", "worker back") or set(killed.values()) >= {"ANSWERED"}


def test_breaker_opens_in_the_outage_and_closes_after_it(scene: Scene) -> None:
    states = scene.states("server stopped", "version swapped")
    outage = scene.events("decision", "server stopped", "server back")

    assert "open" in states
    assert states[-1] == "closed"
    unanswered = [line for line in outage if line["status"] != "OK"]
    assert unanswered
    assert not [line for line in unanswered if line["order"]]


def test_swapped_version_is_noticed_with_its_first_prediction(scene: Scene) -> None:
    good = [line for line in scene.events("decision") if line["status"] == "OK"]
    versions = [line["version"] for line in sorted(good, key=lambda line: line["number"])]
    first = versions.index("1.1")
    came = [line["version"] for line in good].index("1.1")
    noticed = [line for line in scene.events("health", "version swapped") if line["version"] == "1.1"]

    assert set(versions[:first]) == {"1.0"}
    assert set(versions[first:]) == {"1.1"}
    # Requests sent while a position was held went to 1.0, and may be answered last: no order follows from them.
    assert {line["version"] for line in good[came:] if line["order"]} == {"1.1"}
    assert noticed
    assert len(noticed[0]["digest"]) == 64


def test_cut_stream_comes_back_with_full_features(scene: Scene) -> None:
    assert scene.fates("stream back")
    assert orders(scene, "stream back")


def test_the_event_loop_is_not_blocked_by_pending_requests(scene: Scene) -> None:
    sent = [call for call in scene.events("call") if call["sent_ns"]]
    slow = [call for call in sent if call["ended_ns"] - call["sent_ns"] > DEADLINE_NS]
    lag = scene.summary["loop_lag_ms"]

    assert slow
    for call in slow:  # a call that blocked the loop would have let it come round not once
        expected = (call["ended_ns"] - call["sent_ns"]) / 1e9 / BEAT_S
        assert call["beats"] > 0.2 * expected, call
    assert 0 < lag["p50"] < 5
    assert lag["p99"] < DEADLINE_NS / 1e6


def test_summary_is_in_its_file(scene: Scene) -> None:
    assert json.loads(scene.summary_path.read_text()) == scene.summary
