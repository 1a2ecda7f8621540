"""Canaries and shadows on a real server, under strategies that ask through routers: no request fails on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from challengers import INSTRUMENTS, SOFTENED, TILTED, target_of, version_of

from nautilus_torchserve.experiments.canary.canary import CanarySettings, canary
from nautilus_torchserve.experiments.canary.gates import GateLimits
from nautilus_torchserve.experiments.lifecycle import end_abandoned
from nautilus_torchserve.experiments.shadow.shadow import ShadowSettings, shadow
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import RolloutRefused
from nautilus_torchserve.release.rollout.report import RolloutReport
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.serving.server.torchserve import ServerSettings, start_server
from nautilus_torchserve.traffic.records import ShadowAnswer
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.split import Kind, State, fraction
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.traffic.versions import ModelConnector
from nautilus_torchserve.wire.errors import RequestError
from support import PROJECT

pytestmark = pytest.mark.slow
CHALLENGERS = {
    "2.0": {},
    "2.1": {"before": "import random, time; time.sleep(0.1 if random.random() < 0.3 else 0)"},
    "2.2": {"before": "from nautilus_torchserve.wire.errors import ServerFault; raise ServerFault('on purpose')"},
    "2.3": {"answer": TILTED},
    "2.4": {"answer": SOFTENED},
}
"""Equal; slow for some requests; failing; sure of BUY; of another opinion now and then."""
SETTINGS = CanarySettings(
    steps=(0.25, 1.0),
    hold_s=1.0,
    least_calls=50,
    patience_s=10.0,
    look_s=0.1,
    settle_s=1.0,
    leave_s=10.0,
    gates=GateLimits(p99_add_ms=1000.0),  # but where latency is what is tested: others share the machine
    limits=Limits(latency_requests=30, latency_add_ms=1000.0, watch_s=0.3, drain_s=0.5),
)


class Received(NamedTuple):
    """One response that a strategy received."""

    at: float
    instrument: str
    version: str


@dataclass
class Strategies:
    """Responses and errors that strategies received."""

    answers: list[Received] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def by(self, instrument: str) -> list[str]:
        """Return the versions that answered an instrument in turn, without repetitions."""
        versions: list[str] = []
        for received in self.answers:
            if received.instrument == instrument and versions[-1:] != [received.version]:
                versions.append(received.version)
        return versions


@pytest.fixture(scope="module")
def target(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server of its own, with one version that serves and five on trial."""
    models = tmp_path_factory.mktemp("trial-store")
    (models / "tick.mar").write_bytes(tick_archive.read_bytes())
    for version, changes in CHALLENGERS.items():
        version_of(tick_archive, version, models / f"{version}.mar", **changes)
    settings = ServerSettings({"tick": "tick.mar"}, models, tmp_path_factory.mktemp("trial"), free_ports=True)
    with start_server(settings) as server:
        manager = server.management()
        for version in CHALLENGERS:
            manager.register(f"{version}.mar", model_name="tick", batch_size=1, max_batch_delay=1)
        for version in CHALLENGERS:
            manager.wait_ready("tick", version)
        yield target_of(server)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    with TrafficStore(f"sqlite:///{tmp_path}/traffic.db") as opened:
        yield opened


@contextmanager
def strategies(
    target: Target, store: TrafficStore, rows: np.ndarray, held: frozenset[str] = frozenset()
) -> Iterator[Strategies]:
    """Run two trading hosts with two strategies each, which send requests for 40 instruments until the block ends."""
    seen, closed = Strategies(), threading.Event()

    def trade(router: Router, instruments: tuple[str, ...], seed: int) -> None:
        random = np.random.default_rng(seed)
        while not closed.wait(0.002):
            instrument = instruments[random.integers(len(instruments))]
            try:
                answer: PredictionResponse = router.predict(
                    rows[random.integers(len(rows))][None], instrument, time.time_ns(), has_exposure=instrument in held
                )
                seen.answers.append(Received(time.monotonic(), instrument, answer.version))
            except RequestError as error:
                seen.errors.append(f"{instrument}: {error}")

    connector = ModelConnector(target.inference_url, "tick", token=target.inference_token)
    hosts = [Router(connector, store, refresh_s=0.1, name=f"host {number}") for number in range(2)]
    threads = [
        threading.Thread(target=trade, args=(hosts[number % 2], INSTRUMENTS[number::4], number)) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len({answer.instrument for answer in list(seen.answers)}) == len(INSTRUMENTS))
        yield seen
    finally:
        closed.set()
        for thread in threads:
            thread.join()
        for host in hosts:
            host.close()


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def challengers_share(report: RolloutReport, step: str) -> float:
    measured = next(step_report.found for step_report in report.steps if step_report.name == step)
    return measured["calls"] / (measured["calls"] + measured["baseline_calls"])


def serves_on(target: Target, seen: Strategies, version: str) -> None:
    """Wait until all instruments have been answered by this version alone."""
    began = time.monotonic()

    def all_again() -> bool:
        late = [answer for answer in list(seen.answers) if answer.at > began]
        instruments, versions = {answer.instrument for answer in late}, {answer.version for answer in late}
        return instruments == set(INSTRUMENTS) and versions == {version}

    until(all_again)
    assert target.manager().default_version("tick") == version


@pytest.mark.parametrize(("challenger", "gate"), [("2.1", "p99 latency"), ("2.3", "drift of ")])
def test_worse_challenger_goes_by_itself_and_no_request_fails(
    target: Target, store: TrafficStore, rows: np.ndarray, challenger: str, gate: str
) -> None:
    baseline = target.manager().default_version("tick")
    assert baseline is not None
    settings = replace(SETTINGS, gates=GateLimits(p99_add_ms=8.0)) if gate == "p99 latency" else SETTINGS

    with strategies(target, store, rows) as seen:
        report = canary(target, store, "tick", challenger, settings)
        serves_on(target, seen, baseline)

    assert (report.ok, report.failed_at, report.outcome) == (False, "25 %", "undone"), report.as_text()
    assert gate in str(report.reason)
    assert store.splits("tick")[-1].state is State.WITHDRAWN
    assert challenger not in target.manager().versions("tick")
    assert seen.errors == []
    assert any(answer.version == challenger for answer in seen.answers)


def test_failing_challenger_goes_within_a_few_requests(target: Target, store: TrafficStore, rows: np.ndarray) -> None:
    baseline = target.manager().default_version("tick")
    assert baseline is not None

    with strategies(target, store, rows) as seen:
        report = canary(target, store, "tick", "2.2", SETTINGS)
        serves_on(target, seen, baseline)

    assert (report.ok, report.failed_at) == (False, "25 %"), report.as_text()
    assert "error rate" in str(report.reason)
    assert "2.2" not in target.manager().versions("tick")
    assert seen.errors
    assert all(error.endswith("/tick/2.2: on purpose") for error in seen.errors)  # its own, and no other


def test_equal_challenger_climbs_to_the_default_and_no_request_fails(
    target: Target, store: TrafficStore, rows: np.ndarray
) -> None:
    baseline = target.manager().default_version("tick")
    held = INSTRUMENTS[7]
    settings = replace(SETTINGS, steps=(0.01, 0.05, 0.25, 1.0), gates=GateLimits(p99_add_ms=50.0), patience_s=40.0)

    with strategies(target, store, rows, frozenset({held})) as seen:
        report = canary(target, store, "tick", "2.0", settings)
        split = store.splits("tick")[-1]
        until(lambda: {answer.version for answer in seen.answers[-200:] if answer.instrument != held} == {"2.0"})

    assert report.ok, report.as_text()
    assert target.manager().default_version("tick") == "2.0"
    assert (split.state, split.share) == (State.PROMOTED, 1.0)
    assert seen.errors == []
    for instrument in INSTRUMENTS:  # to the challenger once, and never back
        assert seen.by(instrument) == ([baseline] if instrument == held else [baseline, "2.0"])
    for step, share in (("1 %", 0.01), ("5 %", 0.05), ("25 %", 0.25)):
        assigned = [name for name in INSTRUMENTS if fraction(split.name, name) < share and name != held]
        assert challengers_share(report, step) == pytest.approx(len(assigned) / len(INSTRUMENTS), abs=0.05)


def test_shadow_compares_and_answers_no_request(target: Target, store: TrafficStore, rows: np.ndarray) -> None:
    baseline = target.manager().default_version("tick")
    assert baseline is not None
    with target.connect("tick", baseline) as default, target.connect("tick", "2.4") as challenger:
        before, after = (np.stack(list(client.predict(rows).outputs.values())) for client in (default, challenger))
    settings = ShadowSettings(for_s=30.0, answers=400, look_s=0.1, settle_s=0.5)

    with strategies(target, store, rows) as seen:
        report = shadow(target, store, "tick", "2.4", settings)

    assert (report.ok, report.ended) == (True, "answers"), report.as_text()
    assert {answer.version for answer in seen.answers} == {baseline}
    assert seen.errors == []
    assert store.splits("tick")[-1].state is State.STOPPED
    assert (report.errors, report.only_one_has) == (0, ())
    assert report.answers >= 400
    expected = float(np.mean(before.argmax(axis=0) == after.argmax(axis=0)))
    assert report.agreement == pytest.approx(expected, abs=0.1)  # of 512 rows sent at random
    for name, differences in zip(("buy", "sell", "hold"), np.abs(before - after), strict=True):
        assert report.outputs[name].mean == pytest.approx(differences.mean(), rel=0.2)
    assert report.baseline_latency is not None
    assert report.challenger_latency is not None
    assert report.challenger_latency.requests == pytest.approx(report.answers, rel=0.2)  # written one after the other


def test_interrupted_shadow_reports_the_answers_so_far(target: Target, store: TrafficStore, rows: np.ndarray) -> None:
    def interrupt(line: str) -> None:
        if "gets copies" in line:
            threading.Thread(target=interrupt_later).start()

    def interrupt_later() -> None:
        until(lambda: bool(store.read(ShadowAnswer, store.splits("tick")[-1].name)))
        signal.raise_signal(signal.SIGINT)

    with strategies(target, store, rows):
        report = shadow(target, store, "tick", "2.4", ShadowSettings(look_s=0.1, settle_s=0.5, share=0.5), interrupt)

    assert (report.ok, report.ended) == (False, "interrupted")
    assert report.answers > 0
    assert store.running("tick") is None


def test_killed_canary_is_found_and_ended(target: Target, store: TrafficStore, tmp_path: Path) -> None:
    manager = target.manager()
    baseline = manager.default_version("tick")
    challenger = next(version for version in manager.versions("tick") if version != baseline)
    program = tmp_path / "drive.py"
    program.write_text(
        "from nautilus_torchserve.experiments.canary.canary import canary\n"
        "from nautilus_torchserve.release.rollout.target import Target\n"
        "from nautilus_torchserve.traffic.store import TrafficStore\n"
        "from pathlib import PosixPath\n"
        f"canary({target!r}, TrafficStore('sqlite:///{tmp_path}/traffic.db'), 'tick', {challenger!r})\n"
    )
    driver = subprocess.Popen([sys.executable, program], cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)})
    try:
        until(lambda: store.running("tick") is not None)
        with pytest.raises(RolloutRefused):
            end_abandoned(target, store, "tick")
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()

    ended = end_abandoned(target, store, "tick")
    assert ended is not None
    assert (ended.kind, ended.challenger, ended.state) == (Kind.CANARY, challenger, State.STOPPED)
    assert challenger in manager.versions("tick")
