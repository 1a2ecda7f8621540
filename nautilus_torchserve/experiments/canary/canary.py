"""Giving a challenger a growing share of the traffic while gates hold; taking it back by itself when they do not.

TorchServe splits nothing: the share stands in the traffic store, the trading side's routers follow it and write there
what they saw. Until the last step is held, the server's default version is the baseline's.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nautilus_torchserve.experiments.calls import percentile_ms
from nautilus_torchserve.experiments.canary.calls import CanaryCalls
from nautilus_torchserve.experiments.canary.gates import Gate, GateLimits, Verdict, judge
from nautilus_torchserve.experiments.lifecycle import check_challenger, stop
from nautilus_torchserve.release.rollout.change import Say, default_now, say_nothing
from nautilus_torchserve.release.rollout.journal import RolloutRefused, locked
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.report import DONE, INTERRUPTED, UNRECORDED, Report, Step
from nautilus_torchserve.release.rollout.rollout import promote, remove
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.traffic.split import DAY_NS, Kind, Split, State, Unit
from nautilus_torchserve.traffic.store import SplitRefused, StoreFailed, TrafficStore
from nautilus_torchserve.user_error import InvalidArgument


@dataclass(frozen=True)
class CanarySettings:
    """How a challenger is brought in."""

    steps: tuple[float, ...] = (0.01, 0.05, 0.25, 1.0)
    """The challenger's shares, rising to 1."""
    hold_s: float = 60.0
    """How long each share is held, seconds."""
    least_calls: int = 100
    """Calls of the challenger within a step, without which no step is passed."""
    patience_s: float = 600.0
    """How much longer a step may take for lack of calls, or while a gate is open, seconds; then the canary stops."""
    gates: GateLimits = field(default_factory=GateLimits)
    """What the challenger is held to at every look."""
    look_s: float = 1.0
    """Time from look to look, seconds."""
    settle_s: float = 3.0
    """How long routers are given to read that a challenger was withdrawn: some of their ``refresh_s``, seconds."""
    leave_s: float = 30.0
    """How long they may take to leave it; after that it stays registered, seconds."""
    unit: Unit = Unit.INSTRUMENT
    """What is given to one version as a whole; with few instruments, time."""
    slice_ns: int = DAY_NS
    """Length of a time slice, nanoseconds; of no meaning for instruments."""
    limits: Limits = field(default_factory=Limits)
    """Of the promotion at the end, and of the challenger's removal."""

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.steps, self.steps[1:], strict=False))
        if len(self.steps) < 2 or not rising or self.steps[0] <= 0 or self.steps[-1] != 1:
            raise InvalidArgument(f"steps: expected 2 or more shares rising from above 0 to 1, got {list(self.steps)}")
        if self.least_calls < 1 or self.look_s <= 0 or min(self.hold_s, self.patience_s, self.settle_s) < 0:
            raise InvalidArgument(f"least_calls >= 1, look_s > 0 and times >= 0 expected, was {self}")


DEFAULTS = CanarySettings()


@dataclass(frozen=True)
class _End:
    """How a canary, or one step of it, ended."""

    state: State
    """RUNNING: the step is passed."""
    reason: str | None = None
    failed_at: str | None = None
    outcome: str = "undone"
    """As in `Report`."""


def canary(
    target: Target,
    store: TrafficStore,
    model: str,
    challenger: str,
    settings: CanarySettings = DEFAULTS,
    say: Say = say_nothing,
) -> Report:
    """Give a registered version a growing share of the traffic and make it the default one, or take it back.

    While a share is held, the gates are looked at every second. A broken gate withdraws the challenger: routers
    leave it at once, and once they have it is unregistered. Without enough calls, or with a gate left open, it stops:
    the baseline serves on and the challenger stays registered. Nothing is promoted for lack of bad news.
    A share into which no instrument falls is passed over, except the last two.

    Parameters
    ----------
    challenger : str
        A version that is registered and READY, and not the default one (``register`` with ``promote=False``).
    say : callable
        Is told what goes on, a line at a time.

    Returns
    -------
    Report
        ``serving`` when the challenger is the default version now; else why not, and at which step. Ctrl-C, or the
        loss of the store or the server, stops the canary.

    Raises
    ------
    RolloutRefused, SplitRefused
        Nothing was begun: another rollout or split of the model is under way, or there is no such challenger.
    StoreFailed, ManagementError
        Nothing was begun: the store or the server cannot be reached.
    """
    began, clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    steps: list[Step] = []
    with locked(target, model, f"canary of {challenger}"):
        baseline, digest = check_challenger(target, model, challenger)
        split = store.start(
            Split(
                f"{model}-canary-{challenger}-{time.time_ns() // 1_000_000}",
                model,
                Kind.CANARY,
                baseline,
                challenger,
                settings.steps[0],
                settings.unit,
                settings.slice_ns,
            )
        )
        say(f"{split.name}: {challenger} beside {baseline}")
        end = _End(State.RUNNING)
        try:
            end = _climb(store, split, settings, steps, say)
            if end.state is State.RUNNING:
                end = _promote(target, split, settings, steps, say)
            if store.split(split.name).state is State.RUNNING:
                store.end(split.name, end.state)
            if end.state is State.WITHDRAWN:
                end = _take_away(target, store, split, end, settings, steps, say)
        except (KeyboardInterrupt, StoreFailed, SplitRefused, RolloutRefused, ManagementError) as error:
            why = (INTERRUPTED if isinstance(error, KeyboardInterrupt) else str(error)) + stop(store, split)
            end = _interrupted(end, why, steps)
        except BaseException:  # routers would follow a split that nobody watches
            stop(store, split)
            raise
    return Report(
        "canary",
        model,
        challenger,
        digest,
        baseline,
        default_now(target, model),
        end.outcome,
        end.failed_at,
        end.reason,
        tuple(steps),
        began,
        time.monotonic() - clock,
    )


def _interrupted(end: _End, why: str, steps: Sequence[Step]) -> _End:
    """What became of it when something else ended it: stopped, if it had not been withdrawn before."""
    if end.state is State.WITHDRAWN:
        return replace(end, reason=f"{end.reason}; its removal: {why}", outcome="left")
    if end.state is State.PROMOTED and end.outcome in (*DONE, UNRECORDED):
        return replace(end, reason=f"the end of its split: {why}", failed_at="end", outcome=UNRECORDED)
    return _End(State.STOPPED, why, steps[-1].name if steps and not steps[-1].ok else "begin")


def _climb(store: TrafficStore, split: Split, settings: CanarySettings, steps: list[Step], say: Say) -> _End:
    """Hold one share after the other."""
    calls = CanaryCalls(store, split)
    for index, share in enumerate(settings.steps):
        calls.begin_step(store.set_share(split.name, share).updated_ns)
        end = _hold(calls, index, settings, steps, say)
        if end.state is not State.RUNNING:
            return end
    return end


def _hold(calls: CanaryCalls, index: int, settings: CanarySettings, steps: list[Step], say: Say) -> _End:
    """Hold one share and look at the gates all the while."""
    name = f"{settings.steps[index] * 100:g} %"
    say(f"{name}: held for {settings.hold_s:g} s")
    began, end = time.monotonic(), None
    gates: Sequence[Gate] = ()
    try:
        while end is None:
            time.sleep(settings.look_s)
            state = calls.store.split(calls.split.name).state
            calls.look()
            gates = _gates(calls, index, settings)
            if state is State.RUNNING:
                end = _decide(calls, gates, index, time.monotonic() - began, settings)
            else:
                end = _End(State.STOPPED, f"a running split expected, somebody ended it as {state}")
    finally:  # whatever interrupts it
        passed = end is not None and end.state is State.RUNNING
        steps.append(Step(name, passed, (time.monotonic() - began) * 1000, _found(calls, gates)))
    say(f"{name}: {end.reason}")
    return end if passed else replace(end, failed_at=name)


def _gates(calls: CanaryCalls, index: int, settings: CanarySettings) -> tuple[Gate, ...]:
    """The gates on this step.

    Where the baseline is asked too little in it, as at a share of 1, the challenger is held against all that the
    baseline did in this canary. What the market did meanwhile would pass for drift then, and is not looked for.
    """
    limits, baseline = settings.gates, calls.baseline
    if settings.steps[index] == 1 or baseline.requests < settings.least_calls:
        limits, baseline = replace(limits, psi=math.inf), calls.baseline_so_far
    return judge(baseline, calls.challenger, limits, len(settings.steps))


def _decide(
    calls: CanaryCalls, gates: Sequence[Gate], index: int, held_s: float, settings: CanarySettings
) -> _End | None:
    """What is to become of a step; None: to be held longer."""
    broken, unclear = _said(gates, Verdict.BROKEN), _said(gates, Verdict.OPEN)
    if broken:
        return _End(State.WITHDRAWN, broken)
    if held_s < settings.hold_s:
        return None
    asked = calls.challenger.requests
    if asked >= settings.least_calls and not unclear:
        return _End(State.RUNNING, f"passed with {asked} calls of the challenger")
    may_be_empty = index < len(settings.steps) - 2  # what is promoted has been asked beside the baseline, and alone
    if may_be_empty and not asked and calls.baseline.requests >= settings.least_calls:
        return _End(State.RUNNING, f"passed over: no {settings.unit} falls into this share")
    if held_s < settings.hold_s + settings.patience_s:
        return None
    if asked < settings.least_calls:
        return _End(
            State.STOPPED,
            f"no traffic: {settings.least_calls} calls of the challenger expected, was {asked} "
            f"in {held_s:.0f} s (the baseline: {calls.baseline.requests})",
        )
    return _End(State.STOPPED, f"undecided after {held_s:.0f} s: {unclear}")


def _said(gates: Sequence[Gate], verdict: Verdict) -> str:
    return "; ".join(f"{gate.name}: {gate.says}" for gate in gates if gate.verdict is verdict)


def _found(calls: CanaryCalls, gates: Sequence[Gate]) -> dict[str, Any]:
    """A step in figures, in plain JSON types."""
    found: dict[str, Any] = {
        "calls": calls.challenger.requests,
        "errors": calls.challenger.errors,
        "baseline_calls": calls.baseline.requests,
        "baseline_errors": calls.baseline.errors,
    }
    if calls.baseline.latencies:
        found["baseline_p99_ms"] = percentile_ms(calls.baseline.latencies, 0.99)
    found |= {gate.name: gate.figure for gate in gates if gate.figure is not None}
    return found | {"not held": [f"{gate.name} {gate.verdict}" for gate in gates if gate.verdict is not Verdict.HOLDS]}


def _promote(target: Target, split: Split, settings: CanarySettings, steps: list[Step], say: Say) -> _End:
    """Make the challenger the default version; everybody's router asks it by name already."""
    report = promote(target, split.model, split.challenger, settings.limits, say)
    steps += report.steps
    if target.manager().default_version(split.model) == split.challenger:
        return _End(State.PROMOTED, report.reason, report.failed_at, report.outcome)
    state = State.STOPPED if report.reason == INTERRUPTED else State.WITHDRAWN
    return _End(state, report.reason, report.failed_at)


def _take_away(
    target: Target, store: TrafficStore, split: Split, end: _End, settings: CanarySettings, steps: list[Step], say: Say
) -> _End:
    """Unregister a withdrawn challenger once no router asks it any more."""
    began = time.monotonic()
    say(f"{split.challenger} is withdrawn; waiting for its routers to leave it")
    time.sleep(settings.settle_s)
    until = began + settings.settle_s + settings.leave_s
    while (users := store.users(split.model, split.challenger)) and time.monotonic() < until:
        time.sleep(settings.look_s)
    steps.append(Step("leave", not users, (time.monotonic() - began) * 1000, {"still with it": users}))
    if users:
        return replace(end, outcome="left", reason=f"{end.reason}; {split.challenger} stays registered: {users} ask it")
    report = remove(target, split.model, split.challenger, settings.limits, say)
    steps += report.steps
    return end if report.ok else replace(end, outcome="left", reason=f"{end.reason}; {report.reason}")
