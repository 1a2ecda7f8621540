"""Experiments that are carried out on a real server: by the answers of real versions, and after kill -9."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from deployment import Deployment
from experiment_records import HOUR_NS, START_NS, calls, predictions
from imbalance_versions import imbalance_version, outcomes
from tick_versions import TAKES_30_MS

from nautilus_torchserve.experiments.ab.analysis import analyze
from nautilus_torchserve.experiments.ab.auto import AutoSettings, follow
from nautilus_torchserve.experiments.ab.experiment import NoExperiment, plan
from nautilus_torchserve.experiments.ab.rules import Rules
from nautilus_torchserve.experiments.lifecycle import check_challenger
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import RolloutRefused, read_journal
from nautilus_torchserve.release.rollout.rollout import promote, register, remove
from nautilus_torchserve.traffic.records import ScoredPrediction
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.split import Split, State, Unit
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.traffic.versions import ModelConnector
from support import PROJECT

pytestmark = pytest.mark.slow
LIMITS = Limits(watch_s=0.3, drain_s=0.3, latency_requests=20, latency_add_ms=1000.0)
SETTINGS = AutoSettings(every_s=0.2, settle_s=0.6, leave_s=10.0, limits=LIMITS)
RULES = Rules(least_requests=60, promote_latency_ms=20.0, rollback_latency_ms=20.0)
"""Few requests of many rows, and latencies of a machine that other things run on."""
CLASSES = ("BUY", "SELL", "HOLD")
INSTRUMENTS = tuple(f"S{number}.SIM" for number in range(12))
FreshVersion = Callable[[], str]
Challenge = Callable[[Path], str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    with TrafficStore(f"sqlite:///{tmp_path}/traffic.db") as opened:
        yield opened


@pytest.fixture
def challenge(deployment: Deployment) -> Iterator[Challenge]:
    """Registers an archive as a candidate; afterwards 1.0 is the default version again."""

    def bring(archive: Path) -> str:
        report = register(deployment.target, "tick", archive, deployment.trusted, LIMITS, promote=False)
        assert report.ok, report.reason
        return report.version

    yield bring
    deployment.server.management().set_default("tick", "1.0")
    for version in versions(deployment) - {"1.0"}:
        assert remove(deployment.target, "tick", version, LIMITS).ok


def begin(
    store: TrafficStore, challenger: str, unit: Unit = Unit.INSTRUMENT, slice_ns: int = HOUR_NS, baseline: str = "1.0"
) -> Split:
    planned = plan("tick", baseline, challenger, share=0.5, unit=unit, slice_ns=slice_ns, rules=RULES, name="ab")
    return store.start(planned)


def trade(router: Router, store: TrafficStore, rows: np.ndarray, seed: int, hours: int = 25) -> None:
    """Send the rows of every instrument's ticks every hour, and store the scored predictions."""
    random = np.random.default_rng(seed)
    kept = []
    for hour in range(hours):
        for instrument in INSTRUMENTS:
            inputs, ts_ns = rows[random.integers(len(rows), size=8)], START_NS + hour * HOUR_NS
            response = router.predict(inputs, instrument, ts_ns)
            predicted = np.array(CLASSES)[np.argmax([response.outputs[name.lower()] for name in CLASSES], axis=0)]
            split = "" if router.split is None else router.split.name
            kept += [
                ScoredPrediction(split, "tick", response.version, instrument, ts_ns, str(name), true, None)
                for name, true in zip(predicted, outcomes(inputs, int(random.integers(2**31))), strict=True)
            ]
    router.refresh()
    store.keep(kept)


@contextmanager
def router_of(deployment: Deployment, store: TrafficStore) -> Iterator[Router]:
    connector = ModelConnector(deployment.server.inference_url, "tick", token=deployment.server.token, timeout_s=30.0)
    with Router(connector, store, refresh_s=0.1) as router:
        yield router


def versions(deployment: Deployment) -> set[str]:
    return set(deployment.server.management().versions("tick"))


def test_a_better_challenger_is_promoted_by_itself(
    deployment: Deployment,
    challenge: Challenge,
    fresh_version: FreshVersion,
    tick_run: Path,
    rows: np.ndarray,
    store: TrafficStore,
    tmp_path: Path,
) -> None:
    better = challenge(imbalance_version(tick_run, fresh_version(), +1, tmp_path, deployment.key))
    begin(store, better)
    with router_of(deployment, store) as router:
        trade(router, store, rows, seed=1)

        outcome = follow(deployment.target, store, "ab", SETTINGS)

        assert (outcome.state, outcome.ok) == (State.PROMOTED, True), outcome.reason
        assert "accuracy is up" in outcome.reason
        assert store.split("ab").state is State.PROMOTED
        assert deployment.server.management().default_version("tick") == better
        assert "1.0" in versions(deployment)  # for a rollback
        router.refresh()
        assert {router.predict(rows[:1], instrument, 0).version for instrument in INSTRUMENTS} == {better}
    assert follow(deployment.target, store, "ab", SETTINGS).state is State.PROMOTED  # again: nothing more to do


def test_a_challenger_made_worse_on_purpose_is_rolled_back_by_itself(
    deployment: Deployment,
    challenge: Challenge,
    fresh_version: FreshVersion,
    tick_run: Path,
    rows: np.ndarray,
    store: TrafficStore,
    tmp_path: Path,
) -> None:
    worse = challenge(imbalance_version(tick_run, fresh_version(), -1, tmp_path, deployment.key))
    begin(store, worse)
    with router_of(deployment, store) as router:
        trade(router, store, rows, seed=2)

        outcome = follow(deployment.target, store, "ab", SETTINGS)

        assert (outcome.state, outcome.ok) == (State.WITHDRAWN, True), outcome.reason
        assert "accuracy is down" in outcome.reason
        assert store.split("ab").state is State.WITHDRAWN
        assert worse not in versions(deployment)
        assert f"tick-{worse}.mar" not in deployment.files()
        assert {router.predict(rows[:1], instrument, 0).version for instrument in INSTRUMENTS} == {"1.0"}
    assert follow(deployment.target, store, "ab", SETTINGS).reason.endswith("is not registered any more")


def test_a_flat_challenger_is_not_promoted(
    deployment: Deployment, challenge: Challenge, fresh_version: FreshVersion, rows: np.ndarray, store: TrafficStore
) -> None:
    flat = challenge(deployment.make(fresh_version()))
    begin(store, flat)
    actions: list[str] = []
    with router_of(deployment, store) as router:
        trade(router, store, rows, seed=3)

        outcome = follow(
            deployment.target, store, "ab", SETTINGS, show=lambda analysis: actions.append(analysis.decision.action)
        )

    assert (outcome.state, outcome.ok) == (State.RUNNING, True), outcome.reason
    assert actions == ["continue"]
    assert store.split("ab").state is State.RUNNING
    assert deployment.server.management().default_version("tick") == "1.0"
    assert flat in versions(deployment)


def test_a_slow_challenger_is_rolled_back_by_itself(
    deployment: Deployment, challenge: Challenge, fresh_version: FreshVersion, rows: np.ndarray, store: TrafficStore
) -> None:
    slow = challenge(deployment.make(fresh_version(), TAKES_30_MS))
    begin(store, slow, Unit.TIME, slice_ns=500_000_000)
    with router_of(deployment, store) as router:
        deadline = time.monotonic() + 30
        while analyze(store, "ab").decision.action == "continue":
            for _ in range(40):
                router.predict(rows[:1], "S0.SIM", time.time_ns())
            assert time.monotonic() < deadline

        outcome = follow(deployment.target, store, "ab", SETTINGS)

    assert (outcome.state, outcome.ok) == (State.WITHDRAWN, True), outcome.reason
    assert "latency is up by" in outcome.reason
    assert slow not in versions(deployment)


def decided(store: TrafficStore, challenger: str, accuracy: float, baseline: str = "1.0") -> None:
    """Begin an experiment with made-up records that decide it."""
    experiment = begin(store, challenger, baseline=baseline)
    store.keep([*predictions(experiment, baseline, 2_000, 0.55), *predictions(experiment, challenger, 2_000, accuracy)])
    store.keep([*calls(experiment, baseline), *calls(experiment, challenger)])


@contextmanager
def auto_process(deployment: Deployment, store_url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`scripts/experiment.py analyze ab --auto` in a process of its own; killed at the end, if it still runs."""
    command = [
        sys.executable,
        str(PROJECT / "scripts/experiment.py"),
        "analyze",
        "ab",
        "--auto",
        "--drain",
        "0.3",
        "--store",
        store_url,
        "--home",
        str(deployment.server.home),
        *options,
    ]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def until(condition: Callable[[], bool], process: subprocess.Popen[str], within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def test_a_rollback_that_was_killed_is_finished_by_the_next_one(
    deployment: Deployment, challenge: Challenge, fresh_version: FreshVersion, store: TrafficStore, tmp_path: Path
) -> None:
    worse = challenge(deployment.make(fresh_version()))
    decided(store, worse, 0.4)
    store.heartbeat("a router", "tick", [worse])
    with auto_process(deployment, f"sqlite:///{tmp_path}/traffic.db") as process:
        until(lambda: store.split("ab").state is State.WITHDRAWN, process)
    assert worse in versions(deployment)  # the router has not left it: killed while waiting
    store.unregister("a router", "tick")

    outcome = follow(deployment.target, store, "ab", SETTINGS)

    assert (outcome.state, outcome.ok) == (State.WITHDRAWN, True), outcome.reason
    assert worse not in versions(deployment)


def test_a_promotion_that_was_killed_is_taken_back_and_made_anew(
    deployment: Deployment, challenge: Challenge, fresh_version: FreshVersion, store: TrafficStore, tmp_path: Path
) -> None:
    better = challenge(deployment.make(fresh_version()))
    decided(store, better, 0.7)
    manager = deployment.server.management()
    with auto_process(deployment, f"sqlite:///{tmp_path}/traffic.db", "--watch", "60") as process:
        until(lambda: manager.default_version("tick") == better, process)
    assert read_journal(deployment.target, "tick").under_way is not None  # killed while it was watched
    lines: list[str] = []

    outcome = follow(deployment.target, store, "ab", SETTINGS, lines.append)

    assert "1.0 is the default version again" in lines[0]
    assert (outcome.state, outcome.ok) == (State.PROMOTED, True), outcome.reason
    assert manager.default_version("tick") == better
    assert store.split("ab").state is State.PROMOTED


def test_a_promotion_killed_before_the_experiments_end_is_ended(
    deployment: Deployment, challenge: Challenge, fresh_version: FreshVersion, store: TrafficStore
) -> None:
    better = challenge(deployment.make(fresh_version()))
    begin(store, better)  # its records, still coming in, may say something else by now
    assert promote(deployment.target, "tick", better, LIMITS).ok

    outcome = follow(deployment.target, store, "ab", SETTINGS)

    assert (outcome.state, outcome.ok) == (State.PROMOTED, True)
    assert store.split("ab").state is State.PROMOTED


def test_a_challenger_that_a_router_does_not_leave_stays(
    deployment: Deployment, challenge: Challenge, fresh_version: FreshVersion, store: TrafficStore
) -> None:
    worse = challenge(deployment.make(fresh_version()))
    decided(store, worse, 0.4)
    store.heartbeat("a router", "tick", [worse])

    outcome = follow(deployment.target, store, "ab", AutoSettings(settle_s=0.1, leave_s=0.3, limits=LIMITS))

    assert (outcome.state, outcome.ok) == (State.WITHDRAWN, False)
    assert f"{worse} stays registered: ['a router'] use it" in outcome.reason
    assert worse in versions(deployment)


def test_a_decision_about_other_versions_is_not_carried_out(
    deployment: Deployment, challenge: Challenge, fresh_version: FreshVersion, store: TrafficStore
) -> None:
    better = challenge(deployment.make(fresh_version()))
    decided(store, better, 0.7, baseline="0.9")  # which was the default version once

    with pytest.raises(RolloutRefused, match=r"expected the baseline 0\.9 as the server's default version, got 1\.0"):
        follow(deployment.target, store, "ab", SETTINGS)
    with pytest.raises(RolloutRefused, match="got none"):
        check_challenger(deployment.target, "tick", "9.9")
    store.end("ab", State.STOPPED)
    with pytest.raises(NoExperiment, match="was stopped"):
        follow(deployment.target, store, "ab", SETTINGS)

    assert deployment.server.management().default_version("tick") == "1.0"
    assert better in versions(deployment)
