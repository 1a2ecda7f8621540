"""Carrying out on a server what an experiment decides, such that a process killed anywhere is followed by one that
finishes.

Promotion: the server's default version first, the experiment's end second. Until it has ended, routers ask both
versions by their own routes, so it makes no difference to them when the default changes; ended first, they would
all go to a default version that is still the baseline, and a promotion that then fails would leave a lie in
the store. Killed in between, the default is the challenger and the experiment still runs: the next one ends it.
Killed within the promotion, `release.rollout.repair` takes it back or finishes it before the next
one looks.

Rollback: the experiment's end first, the removal second, and in between every router must have left the challenger.
Killed anywhere after the end, the experiment is withdrawn and the challenger still registered: the next one goes on.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from nautilus_torchserve.experiments.ab.analysis import Analysis, Reading, analyze
from nautilus_torchserve.experiments.ab.experiment import NoExperiment, find_experiment
from nautilus_torchserve.experiments.ab.rules import Action
from nautilus_torchserve.experiments.lifecycle import check_challenger
from nautilus_torchserve.release.rollout.change import say_nothing
from nautilus_torchserve.release.rollout.journal import RolloutRefused, locked
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.repair import recover
from nautilus_torchserve.release.rollout.report import Report
from nautilus_torchserve.release.rollout.rollout import promote, remove
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.split import Split, State
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.user_error import InvalidArgument

Say = Callable[[str], None]


@dataclass(frozen=True)
class AutoSettings:
    """How decisions are looked for and carried out."""

    every_s: float = 60.0
    """Time from look to look, seconds."""
    for_s: float = 0.0
    """How long to go on looking without a decision, seconds; 0: one look."""
    settle_s: float = 3.0
    """How long routers are given to read that a challenger was withdrawn: some of their ``refresh_s``, seconds."""
    leave_s: float = 60.0
    """How long they may take to leave it; after that it stays registered, seconds."""
    limits: Limits = field(default_factory=Limits)
    """Of the promotion or removal."""

    def __post_init__(self) -> None:
        if self.every_s <= 0 or min(self.for_s, self.settle_s, self.leave_s) < 0:
            raise InvalidArgument(f"every_s > 0 and times >= 0 expected, was {self}")
        if self.limits.keep < 1:
            raise InvalidArgument(
                f"keep: expected at least 1, got {self.limits.keep}: routers ask the baseline until "
                "the experiment has ended"
            )


DEFAULTS = AutoSettings()


@dataclass(frozen=True)
class Outcome:
    """What became of an experiment."""

    state: State
    """Where it stands now; RUNNING: nothing is decided yet, or it could not be carried out."""
    ok: bool
    """Whether all that was decided is done."""
    reason: str
    """In words."""
    report: Report | None = None
    """Of the promotion or removal, where there was one."""

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        return asdict(self) | {"report": self.report and self.report.as_dict()}


def check_versions(target: Target, model: str, challenger: str, baseline: str | None = None) -> str:
    """The server's default version, once it is found to be the baseline and the challenger to answer.

    Raises
    ------
    RolloutRefused
        It is another one, or the challenger is not registered, READY and answering: its share of the requests
        would fail.
    """
    default, _ = check_challenger(target, model, challenger)
    if baseline is not None and baseline != default:
        raise RolloutRefused(f"{model}: baseline {baseline} as the server's default version expected, was {default}")
    return default


def follow(
    target: Target,
    store: TrafficStore,
    name: str,
    settings: AutoSettings = DEFAULTS,
    say: Say = say_nothing,
    show: Callable[[Analysis], None] = lambda _: None,
) -> Outcome:
    """Look at an experiment until it decides or time is over, and carry the decision out.

    What an interrupted run left is finished first.

    Parameters
    ----------
    say : callable
        Is told what is done, a line at a time.
    show : callable
        Is given every look.

    Raises
    ------
    NoExperiment
        There is none of this name, or it was stopped.
    RolloutRefused
        Another rollout of the model is under way, or the server's default version is a third one.
    ManagementError, StoreFailed
        The server or the store was lost.
    """
    outcome = _finish(target, store, name, settings, say)
    deadline = time.monotonic() + settings.for_s
    reading = Reading(store, name)
    while outcome is None:
        reading.update()
        look = reading.analysis()
        show(look)
        if look.experiment.state is not State.RUNNING:
            outcome = _finish(target, store, name, settings, say)
        elif look.decision.action is not Action.CONTINUE:
            outcome = _act(target, store, name, settings, say)
        if outcome is None:
            if time.monotonic() + settings.every_s > deadline:
                return Outcome(State.RUNNING, True, look.decision.reason)
            time.sleep(settings.every_s)
    return outcome


def _finish(target: Target, store: TrafficStore, name: str, settings: AutoSettings, say: Say) -> Outcome | None:
    """Finish what was begun before; None for an experiment that is running as it should."""
    experiment = find_experiment(store, name)
    if experiment.state is State.STOPPED:
        raise NoExperiment(f"{name}: an experiment with a decision to carry out expected, was stopped")
    if experiment.state is State.PROMOTED:
        return Outcome(State.PROMOTED, True, f"{experiment.challenger} was promoted")
    with locked(target, experiment.model, f"experiment {name}"):
        if (done := recover(target, experiment.model)) is not None:
            say(done)
        if experiment.state is State.WITHDRAWN:
            return _take_away(target, store, experiment, f"{experiment.challenger} was withdrawn", settings, say)
        if target.manager().default_version(experiment.model) == experiment.challenger:
            store.end(name, State.PROMOTED)
            return Outcome(State.PROMOTED, True, f"{experiment.challenger} was the default version already")
    return None


def _act(target: Target, store: TrafficStore, name: str, settings: AutoSettings, say: Say) -> Outcome | None:
    """Carry out what a reading from the beginning says; None where that says to go on, or somebody was faster."""
    experiment = find_experiment(store, name)
    with locked(target, experiment.model, f"experiment {name}"):
        look = analyze(store, name)
        if look.experiment.state is not State.RUNNING or look.decision.action is Action.CONTINUE:
            return None
        reason = look.decision.reason
        if look.decision.action is Action.PROMOTE:
            say(f"{name}: promote {experiment.challenger}: {reason}")
            return _promote(target, store, experiment, reason, settings, say)
        say(f"{name}: roll back {experiment.challenger}: {reason}")
        return _take_away(target, store, store.end(name, State.WITHDRAWN), reason, settings, say)


def _promote(
    target: Target, store: TrafficStore, experiment: Split, reason: str, settings: AutoSettings, say: Say
) -> Outcome:
    check_versions(target, experiment.model, experiment.challenger, experiment.baseline)
    report = promote(target, experiment.model, experiment.challenger, settings.limits, say)
    if target.manager().default_version(experiment.model) != experiment.challenger:
        return Outcome(State.RUNNING, False, f"{reason}; but {report.failed_at}: {report.reason}", report)
    store.end(experiment.name, State.PROMOTED)
    return Outcome(State.PROMOTED, report.ok, reason if report.ok else f"{reason}; then {report.reason}", report)


def _take_away(
    target: Target, store: TrafficStore, experiment: Split, reason: str, settings: AutoSettings, say: Say
) -> Outcome:
    """Unregister a withdrawn challenger once no router asks it any more; routers read that some time after the end."""
    model, challenger = experiment.model, experiment.challenger
    if challenger not in target.manager().versions(model):
        return Outcome(State.WITHDRAWN, True, f"{reason}; {challenger} is not registered any more")
    running = store.running(model)
    if running is not None and challenger in (running.baseline, running.challenger):
        raise RolloutRefused(f"{model}/{challenger}: a version on no other trial expected, {running.name!r} has it")
    say(f"{challenger} is withdrawn; waiting for its routers to leave it")
    settled_ns, began = experiment.updated_ns + round(settings.settle_s * 1e9), time.monotonic()
    while (users := store.users(model, challenger)) or time.time_ns() < settled_ns:
        if time.monotonic() - began > settings.settle_s + settings.leave_s:
            return Outcome(State.WITHDRAWN, False, f"{reason}; {challenger} stays registered: {users} ask it")
        time.sleep(0.2)
    report = remove(target, model, challenger, settings.limits, say)
    return Outcome(State.WITHDRAWN, report.ok, reason if report.ok else f"{reason}; {report.reason}", report)
