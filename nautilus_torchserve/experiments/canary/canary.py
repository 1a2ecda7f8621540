"""Canary: a challenger gets a growing share of the traffic while its gates hold, and is withdrawn when one breaks.

TorchServe splits no traffic: the share is in the traffic store, and the routers of the trading side follow it and
write the calls that they saw into it. The server's default version is the baseline until the last step has passed.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nautilus_torchserve.experiments.canary.gates import GateLimits, GateResult, Verdict, check_gates
from nautilus_torchserve.experiments.lifecycle import check_challenger, start_split, stop_split, wait_until_unused
from nautilus_torchserve.release.rollout.change import default_now
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import RolloutRefused, locked
from nautilus_torchserve.release.rollout.report import (
    DONE,
    INTERRUPTED,
    UNRECORDED,
    Progress,
    RolloutReport,
    Step,
    no_progress,
)
from nautilus_torchserve.release.rollout.rollout import promote, remove
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.traffic.records import CallTotals, CallWindow, percentile_ms
from nautilus_torchserve.traffic.split import DAY_NS, Kind, Split, State, Unit
from nautilus_torchserve.traffic.store import RecordReader, SplitRefused, StoreFailed, TrafficStore
from nautilus_torchserve.user_error import InvalidArgument


@dataclass(frozen=True)
class CanarySettings:
    """Shares, times and gates of a canary."""

    steps: tuple[float, ...] = (0.01, 0.05, 0.25, 1.0)
    """The challenger's shares, rising to 1."""
    hold_s: float = 60.0
    """Time that each share is held, seconds."""
    least_calls: int = 100
    """Least calls of the challenger in a step that passes."""
    patience_s: float = 600.0
    """Further time that a step may take for lack of calls, or while a gate is open, seconds; then the canary stops."""
    gates: GateLimits = field(default_factory=GateLimits)
    """Limits of the gates."""
    look_s: float = 1.0
    """Time between checks of the gates, seconds."""
    settle_s: float = 3.0
    """Time that routers may take to read that a challenger was withdrawn: a few of their ``refresh_s``, seconds."""
    leave_s: float = 30.0
    """Time that they may take to leave it, seconds; after that it stays registered."""
    unit: Unit = Unit.INSTRUMENT
    """Unit that keeps one version: instruments, or slices of time where there are few instruments."""
    slice_ns: int = DAY_NS
    """Length of a time slice, nanoseconds; ignored in a split by instrument."""
    limits: Limits = field(default_factory=Limits)
    """Limits of the promotion at the end, and of the challenger's removal."""

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.steps, self.steps[1:], strict=False))
        if len(self.steps) < 2 or not rising or self.steps[0] <= 0 or self.steps[-1] != 1:
            raise InvalidArgument(f"steps: expected 2 or more shares rising from above 0 to 1, got {list(self.steps)}")
        if self.least_calls < 1 or self.look_s <= 0 or min(self.hold_s, self.patience_s, self.settle_s) < 0:
            raise InvalidArgument(f"expected least_calls >= 1, look_s > 0 and times >= 0, got {self}")


DEFAULTS = CanarySettings()


@dataclass(frozen=True)
class _End:
    """End of a canary, or of one step of it."""

    state: State
    """RUNNING: the step passed."""
    reason: str | None = None
    failed_at: str | None = None
    outcome: str = "undone"
    """As in `RolloutReport`."""


@dataclass
class CanaryCalls:
    """Both versions' calls in the current step, and the baseline's in all steps, read from the traffic store."""

    store: TrafficStore
    split: Split
    baseline: CallTotals = field(default_factory=CallTotals)
    """In the current step."""
    challenger: CallTotals = field(default_factory=CallTotals)
    """In the current step."""
    baseline_so_far: CallTotals = field(default_factory=CallTotals)
    """Since the canary began."""
    since_ns: int = 0
    """Begin of the current step, Unix nanoseconds."""

    def __post_init__(self) -> None:
        self._reader = RecordReader(self.store, self.split.name)

    def begin_step(self, since_ns: int) -> None:
        """Count only windows that begin from now on: earlier ones belong to another share."""
        self.baseline, self.challenger, self.since_ns = CallTotals(), CallTotals(), since_ns

    def update(self) -> None:
        """Read the windows that routers have written since the last time."""
        for window in self._reader.read(CallWindow):
            in_step = window.since_ns >= self.since_ns
            if window.version == self.split.baseline:
                self.baseline_so_far.add(window)
                if in_step:
                    self.baseline.add(window)
            elif window.version == self.split.challenger and in_step:
                self.challenger.add(window)

    def measurements(self, gates: Sequence[GateResult]) -> dict[str, Any]:
        """Return the current step's measurements, in plain JSON types."""
        measured: dict[str, Any] = {
            "calls": self.challenger.requests,
            "errors": self.challenger.errors,
            "baseline_calls": self.baseline.requests,
            "baseline_errors": self.baseline.errors,
        }
        if self.baseline.latencies:
            measured["baseline_p99_ms"] = percentile_ms(self.baseline.latencies, 0.99)
        measured |= {gate.name: gate.value for gate in gates if gate.value is not None}
        not_held = [f"{gate.name} {gate.verdict}" for gate in gates if gate.verdict is not Verdict.HOLDS]
        return measured | {"not held": not_held}


def canary(
    target: Target,
    store: TrafficStore,
    model: str,
    challenger: str,
    settings: CanarySettings = DEFAULTS,
    progress: Progress = no_progress,
) -> RolloutReport:
    """Give a registered version a growing share of the traffic and make it the default one, or withdraw it.

    While a share is held, the gates are checked every second. A broken gate withdraws the challenger: routers leave it
    at once, and then it is unregistered. Without enough calls, or with a gate that stays open, the canary stops: the
    baseline serves on and the challenger stays registered. Nothing is promoted for lack of bad news. A share that no
    instrument falls into is skipped, except the last two.

    Parameters
    ----------
    challenger : str
        A version that is registered and READY, and not the default one (``register`` with ``promote=False``).
    progress : callable
        Takes lines of progress.

    Returns
    -------
    RolloutReport
        ``serving`` where the challenger is the default version now; else why not, and at which step. Ctrl-C, or the
        loss of the store or the server, stops the canary.

    Raises
    ------
    RolloutRefused, SplitRefused
        Nothing was begun: another rollout or split of the model is under way, or there is no such challenger.
    StoreFailed, ManagementError
        Nothing was begun: the store or the server cannot be reached.
    """
    began, clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    with locked(target, model, f"canary of {challenger}"):
        baseline, digest = check_challenger(target, model, challenger)
        share, unit, slice_ns = settings.steps[0], settings.unit, settings.slice_ns
        split = start_split(store, model, Kind.CANARY, baseline, challenger, share, unit, slice_ns)
        progress(f"{split.name}: {challenger} beside {baseline}")
        run = _Canary(target, store, split, settings, progress)
        end = run.carry_out()
    return RolloutReport(
        "canary",
        model,
        challenger,
        digest,
        baseline,
        default_now(target, model),
        end.outcome,
        end.failed_at,
        end.reason,
        tuple(run.steps),
        began,
        time.monotonic() - clock,
    )


@dataclass
class _Canary:
    """A canary under way."""

    target: Target
    store: TrafficStore
    split: Split
    settings: CanarySettings
    progress: Progress
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = CanaryCalls(self.store, self.split)

    def carry_out(self) -> _End:
        """Hold all steps, and promote or withdraw the challenger; where that is interrupted, stop the split."""
        end = _End(State.RUNNING)
        try:
            end = self._hold_steps()
            if end.state is State.RUNNING:
                end = self._promote()
            split = self.store.split(self.split.name)
            if split.state is State.RUNNING:
                split = self.store.end(split.name, end.state)
            if end.state is State.WITHDRAWN:
                end = self._remove_challenger(split, end)
        except (KeyboardInterrupt, StoreFailed, SplitRefused, RolloutRefused, ManagementError) as error:
            reason = INTERRUPTED if isinstance(error, KeyboardInterrupt) else str(error)
            end = self._interrupted(end, reason + stop_split(self.store, self.split))
        except BaseException:  # routers would follow a split that no process watches
            stop_split(self.store, self.split)
            raise
        return end

    def _interrupted(self, end: _End, reason: str) -> _End:
        """Return the end of a canary that was interrupted: stopped, if it was not withdrawn or promoted before."""
        if end.state is State.WITHDRAWN:
            return replace(end, reason=f"{end.reason}; its removal: {reason}", outcome="left")
        if end.state is State.PROMOTED and end.outcome in (*DONE, UNRECORDED):
            return replace(end, reason=f"the end of its split: {reason}", failed_at="end", outcome=UNRECORDED)
        has_failed = bool(self.steps) and not self.steps[-1].ok
        return _End(State.STOPPED, reason, self.steps[-1].name if has_failed else "begin")

    def _hold_steps(self) -> _End:
        """Hold one share after the other."""
        for index, share in enumerate(self.settings.steps):
            self.calls.begin_step(self.store.set_share(self.split.name, share).updated_ns)
            end = self._hold_step(index)
            if end.state is not State.RUNNING:
                break
        return end

    def _hold_step(self, index: int) -> _End:
        """Hold one share and check the gates all the while."""
        name = f"{self.settings.steps[index] * 100:g} %"
        self.progress(f"{name}: held for {self.settings.hold_s:g} s")
        began, end = time.monotonic(), None
        gates: Sequence[GateResult] = ()
        try:
            while end is None:
                time.sleep(self.settings.look_s)
                state = self.store.split(self.split.name).state
                self.calls.update()
                gates = self._check_gates(index)
                if state is State.RUNNING:
                    end = self._decide(gates, index, time.monotonic() - began)
                else:
                    end = _End(State.STOPPED, f"expected a running split, got one that was ended as {state}")
        finally:  # whatever interrupts it
            passed = end is not None and end.state is State.RUNNING
            measured = self.calls.measurements(gates)
            self.steps.append(Step(name, passed, (time.monotonic() - began) * 1000, measured))
        self.progress(f"{name}: {end.reason}")
        return end if passed else replace(end, failed_at=name)

    def _check_gates(self, index: int) -> tuple[GateResult, ...]:
        """Check the gates of this step.

        Where the baseline gets too few requests in it, as at a share of 1, the challenger is compared with all the
        baseline's calls in this canary. Changes of the market would pass for drift then, so drift is not checked.
        """
        limits, baseline = self.settings.gates, self.calls.baseline
        if self.settings.steps[index] == 1 or baseline.requests < self.settings.least_calls:
            limits, baseline = replace(limits, psi=math.inf), self.calls.baseline_so_far
        return check_gates(baseline, self.calls.challenger, limits, len(self.settings.steps))

    def _decide(self, gates: Sequence[GateResult], index: int, held_s: float) -> _End | None:
        """Decide a step; None: it is held longer."""
        settings, requests, baseline = self.settings, self.calls.challenger.requests, self.calls.baseline.requests
        broken, undecided = _details(gates, Verdict.BROKEN), _details(gates, Verdict.OPEN)
        if broken:
            return _End(State.WITHDRAWN, broken)
        if held_s < settings.hold_s:
            return None
        if requests >= settings.least_calls and not undecided:
            return _End(State.RUNNING, f"passed with {requests} calls of the challenger")
        may_be_empty = index < len(settings.steps) - 2  # a promoted version has served beside the baseline, and alone
        if may_be_empty and not requests and baseline >= settings.least_calls:
            return _End(State.RUNNING, f"skipped: no {settings.unit} falls into this share")
        if held_s < settings.hold_s + settings.patience_s:
            return None
        if requests < settings.least_calls:
            got = f"{requests} in {held_s:.0f} s (the baseline: {baseline})"
            return _End(
                State.STOPPED, f"no traffic: expected {settings.least_calls} calls of the challenger, got {got}"
            )
        return _End(State.STOPPED, f"undecided after {held_s:.0f} s: {undecided}")

    def _promote(self) -> _End:
        """Make the challenger the default version; all routers request it by name already."""
        model, challenger = self.split.model, self.split.challenger
        report = promote(self.target, model, challenger, self.settings.limits, self.progress)
        self.steps += report.steps
        if self.target.manager().default_version(model) == challenger:
            return _End(State.PROMOTED, report.reason, report.failed_at, report.outcome)
        state = State.STOPPED if report.reason == INTERRUPTED else State.WITHDRAWN
        return _End(state, report.reason, report.failed_at)

    def _remove_challenger(self, split: Split, end: _End) -> _End:
        """Unregister a withdrawn challenger once no router uses it any more."""
        began, settings = time.monotonic(), self.settings
        self.progress(f"{split.challenger} is withdrawn; waiting for its routers to leave it")
        users = wait_until_unused(self.store, split, settings.settle_s, settings.leave_s)
        self.steps.append(Step("leave", not users, (time.monotonic() - began) * 1000, {"still with it": users}))
        if users:
            reason = f"{end.reason}; {split.challenger} stays registered: {users} use it"
            return replace(end, outcome="left", reason=reason)
        report = remove(self.target, split.model, split.challenger, settings.limits, self.progress)
        self.steps += report.steps
        return end if report.ok else replace(end, outcome="left", reason=f"{end.reason}; {report.reason}")


def _details(gates: Sequence[GateResult], verdict: Verdict) -> str:
    return "; ".join(f"{gate.name}: {gate.detail}" for gate in gates if gate.verdict is verdict)
