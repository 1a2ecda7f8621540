"""A canary goes on while its gates hold, withdraws the challenger when one breaks, and never promotes without calls."""

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from challengers import Behaviour, made_up_router, target_of, version_of

from nautilus_torchserve.experiments.canary.canary import CanaryCalls, CanarySettings, canary
from nautilus_torchserve.experiments.canary.gates import GateLimits
from nautilus_torchserve.experiments.lifecycle import end_abandoned
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import RolloutRefused, locked
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.traffic.records import CallWindow
from nautilus_torchserve.traffic.split import Kind, Split, State
from nautilus_torchserve.traffic.store import SplitRefused, TrafficStore

MODEL = "trial"
QUICK = CanarySettings(
    steps=(0.3, 1.0),
    hold_s=0.1,
    least_calls=10,
    patience_s=0.3,
    look_s=0.03,
    settle_s=0.2,
    leave_s=0.3,
    limits=Limits(latency_requests=5, latency_add_ms=1000.0, watch_s=0.0, drain_s=0.1),
)


@pytest.fixture(scope="module")
def target(tick_server: TorchServe, tick_archive: Path) -> Iterator[Target]:
    """The session's server with a model of two equal versions."""
    second = version_of(tick_archive, "2.0", tick_archive.parent / "second.mar")
    manager = tick_server.management()
    for archive in (tick_archive, second):
        manager.register(archive.name, model_name=MODEL, batch_size=1, max_batch_delay=1)
    for version in ("1.0", "2.0"):
        manager.wait_ready(MODEL, version)
    yield target_of(tick_server)
    manager.unregister(MODEL, challenger_of(target_of(tick_server))[1])
    manager.unregister(MODEL)
    second.unlink()


def challenger_of(target: Target) -> tuple[str, str]:
    """Return the default version and the other one."""
    versions, baseline = target.manager().versions(MODEL), target.manager().default_version(MODEL)
    assert baseline is not None
    (challenger,) = versions.keys() - {baseline}
    return baseline, challenger


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    with TrafficStore(f"sqlite:///{tmp_path}/traffic.db") as opened:
        yield opened


def test_equal_challenger_becomes_the_default(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)
    lines: list[str] = []

    with made_up_router(store, MODEL, {baseline: Behaviour(), challenger: Behaviour()}):
        report = canary(target, store, MODEL, challenger, replace(QUICK, steps=(1e-9, 0.3, 1.0)), lines.append)

    assert report.ok, report.as_text()
    assert (report.outcome, report.previous, report.version) == ("serving", baseline, challenger)
    assert target.manager().default_version(MODEL) == challenger
    (split,) = store.splits(MODEL)
    assert (split.state, split.share) == (State.PROMOTED, 1.0)
    assert [step.name for step in report.steps][:3] == ["1e-07 %", "30 %", "100 %"]
    assert [step.found["calls"] > 0 for step in report.steps[:3]] == [False, True, True]
    assert ["drift of buy" in step.found for step in report.steps[:3]] == [
        False,
        True,
        False,
    ]  # at a share of 1 there is no other version
    assert "skipped" in " ".join(lines)  # no instrument falls into so small a share


@pytest.mark.parametrize(
    ("behaviour", "gate"),
    [
        (Behaviour(fails=True), "error rate"),
        (Behaviour(latency_ms=30.0), "p99 latency"),
        (Behaviour(buy=0.9), "drift of buy"),
    ],
)
def test_worse_challenger_is_withdrawn(target: Target, store: TrafficStore, behaviour: Behaviour, gate: str) -> None:
    """The router here keeps using it, which is why it is not unregistered."""
    baseline, challenger = challenger_of(target)

    with made_up_router(store, MODEL, {baseline: Behaviour(), challenger: behaviour}, leaves=False):
        report = canary(target, store, MODEL, challenger, QUICK)

    (split,) = store.splits(MODEL)
    assert split.state is State.WITHDRAWN
    assert (report.ok, report.failed_at, report.outcome) == (False, "30 %", "left")
    assert report.reason is not None
    assert report.reason.startswith(f"{gate}: ")
    assert "stays registered: ['made up'] use it" in report.reason
    assert challenger_of(target) == (baseline, challenger)


def test_nothing_is_promoted_without_calls(target: Target, store: TrafficStore) -> None:
    _, challenger = challenger_of(target)

    report = canary(target, store, MODEL, challenger, QUICK)

    (split,) = store.splits(MODEL)
    assert split.state is State.STOPPED
    assert (report.outcome, report.failed_at) == ("undone", "30 %")
    assert "no traffic: expected 10 calls of the challenger, got 0" in str(report.reason)
    assert challenger_of(target)[1] == challenger


def test_few_good_calls_are_not_enough(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)

    with made_up_router(store, MODEL, {baseline: Behaviour(), challenger: Behaviour()}):
        report = canary(target, store, MODEL, challenger, replace(QUICK, least_calls=1_000_000))

    assert (report.outcome, report.failed_at) == ("undone", "30 %")
    assert report.steps[0].found["calls"] > 0
    assert "no traffic: expected 1000000 calls of the challenger" in str(report.reason)


def test_share_into_which_no_instrument_falls_is_not_enough_to_be_promoted(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)

    with made_up_router(store, MODEL, {baseline: Behaviour(), challenger: Behaviour()}):
        report = canary(target, store, MODEL, challenger, replace(QUICK, steps=(1e-9, 1e-8, 1.0)))

    assert (report.outcome, report.failed_at) == ("undone", "1e-06 %")
    assert "no traffic" in str(report.reason)


def test_gate_that_nothing_proves_stops_the_canary(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)
    settings = replace(QUICK, gates=GateLimits(false_alarm=1e-300))

    with made_up_router(store, MODEL, {baseline: Behaviour(), challenger: Behaviour(fails=True)}):
        report = canary(target, store, MODEL, challenger, settings)

    (split,) = store.splits(MODEL)
    assert (split.state, report.outcome) == (State.STOPPED, "undone")
    assert "undecided" in str(report.reason)
    assert "error rate" in str(report.reason)


def test_ctrl_c_stops_the_canary_and_keeps_the_challenger(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)

    def interrupt(line: str) -> None:
        if line.startswith("100 %"):
            signal.raise_signal(signal.SIGINT)

    with made_up_router(store, MODEL, {baseline: Behaviour(), challenger: Behaviour()}):
        report = canary(target, store, MODEL, challenger, QUICK, interrupt)

    (split,) = store.splits(MODEL)
    assert split.state is State.STOPPED
    assert (report.ok, report.outcome, report.reason) == (False, "undone", "interrupted")
    assert challenger_of(target) == (baseline, challenger)
    with locked(target, MODEL, "the next one"):
        pass  # the lock is free again


def test_a_split_ended_by_another_process_stops_the_canary(target: Target, store: TrafficStore) -> None:
    _, challenger = challenger_of(target)

    def end(line: str) -> None:
        if line.startswith("30 %"):
            store.end(store.splits(MODEL)[0].name, State.STOPPED)

    report = canary(target, store, MODEL, challenger, QUICK, lambda line: end(line) if "held for" in line else None)

    assert (report.ok, report.failed_at) == (False, "30 %")
    assert "got one that was ended as stopped" in str(report.reason)


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        (MODEL, None, "expected another version than the default one"),
        (MODEL, "9.9", "READY workers, got none"),
        ("nope", "1.0", "expected a registered model"),
    ],
)
def test_canary_of_nothing_is_refused(
    target: Target, store: TrafficStore, model: str, version: str | None, message: str
) -> None:
    with pytest.raises(RolloutRefused, match=message):
        canary(target, store, model, version or challenger_of(target)[0], QUICK)

    assert store.splits() == []


def test_windows_that_began_before_a_step_are_not_of_it(store: TrafficStore) -> None:
    split = store.start(Split("mine", MODEL, Kind.CANARY, "1.0", "2.0", 0.5))
    calls = CanaryCalls(store, split)

    def seen(since_ns: int, requests: int) -> tuple[int, int, int]:
        store.keep(
            [
                CallWindow("mine", MODEL, version, "host", since_ns, requests, 0, 0.0, 0.0)
                for version in ("1.0", "2.0", "an older one")
            ]
        )
        calls.update()
        return calls.baseline.requests, calls.challenger.requests, calls.baseline_so_far.requests

    calls.begin_step(100)
    assert [seen(99, 1), seen(100, 2), seen(150, 4)] == [(0, 0, 1), (2, 2, 3), (6, 6, 7)]
    calls.begin_step(200)
    assert [seen(199, 8), seen(200, 16)] == [(0, 0, 15), (16, 16, 31)]


def in_another_thread(work: Callable[[], object]) -> None:
    """Run it in another thread, since a lock is reentrant within a thread."""
    failed: list[BaseException] = []

    def catch() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_canary_keeps_others_out(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)

    def intrude(line: str) -> None:
        if "held for" in line:
            with pytest.raises(RolloutRefused, match=f"canary of {challenger}, process"):
                in_another_thread(lambda: canary(target, store, MODEL, challenger, QUICK))
            intruded.append(line)

    intruded: list[str] = []
    canary(target, store, MODEL, challenger, QUICK, intrude)

    assert intruded
    store.start(Split("mine", MODEL, Kind.EXPERIMENT, baseline, challenger, 0.5))
    with pytest.raises(SplitRefused, match="got a running experiment 'mine'"):
        canary(target, store, MODEL, challenger, QUICK)


@pytest.mark.parametrize("kind", [Kind.CANARY, Kind.SHADOW])
def test_an_unattended_split_is_found_and_ended(target: Target, store: TrafficStore, kind: Kind) -> None:
    baseline, challenger = challenger_of(target)
    left = store.start(Split("left", MODEL, kind, baseline, challenger, 0.3))

    def look() -> None:
        with pytest.raises(RolloutRefused):
            end_abandoned(target, store, MODEL)

    with locked(target, MODEL, "canary"):
        in_another_thread(look)
    ended = end_abandoned(target, store, MODEL)

    assert ended is not None
    assert (ended.name, ended.state) == (left.name, State.STOPPED)
    assert end_abandoned(target, store, MODEL) is None


def test_canary_that_was_killed_after_its_promotion_ends_as_promoted(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)
    store.start(Split("left", MODEL, Kind.CANARY, challenger, baseline, 1.0))

    ended = end_abandoned(target, store, MODEL)

    assert ended is not None
    assert ended.state is State.PROMOTED


def test_experiment_needs_no_watcher(target: Target, store: TrafficStore) -> None:
    baseline, challenger = challenger_of(target)
    store.start(Split("mine", MODEL, Kind.EXPERIMENT, baseline, challenger, 0.5))

    assert end_abandoned(target, store, MODEL) is None
    assert store.split("mine").state is State.RUNNING


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": (1.0,)},
        {"steps": (0.5, 0.1, 1.0)},
        {"steps": (0.1, 0.5)},
        {"steps": (0.0, 1.0)},
        {"least_calls": 0},
        {"look_s": 0.0},
        {"hold_s": -1.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        CanarySettings(**wrong)
