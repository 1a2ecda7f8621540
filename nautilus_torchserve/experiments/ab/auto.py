"""Automatic promotion or removal of a challenger by an experiment's decision. A process killed anywhere is resumed.

Promotion changes the server's default version first and ends the experiment second. While the experiment runs, routers
use both versions by their own routes, so that they do not notice the change. In the other order they would all go to a
default version that is still the baseline, and a promotion that fails would leave a false record in the store. If the
process is killed in between, the default version is the challenger and the experiment is still running: the next
process ends it. If it is killed within the promotion, `release.rollout.repair` undoes or finishes that first.

Rollback ends the experiment first and removes the challenger second, once every router has left it. If the process is
killed after the end, the experiment is withdrawn and the challenger still registered: the next process goes on.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from nautilus_torchserve.experiments.ab.analysis import Analysis, IncrementalAnalysis, analyze
from nautilus_torchserve.experiments.ab.experiment import NoExperiment, find_experiment
from nautilus_torchserve.experiments.ab.rules import Action
from nautilus_torchserve.experiments.lifecycle import check_challenger, wait_until_unused
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import RolloutRefused, locked
from nautilus_torchserve.release.rollout.repair import recover
from nautilus_torchserve.release.rollout.report import Progress, RolloutReport, no_progress
from nautilus_torchserve.release.rollout.rollout import promote, remove
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.split import Split, State
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.user_error import InvalidArgument


@dataclass(frozen=True)
class AutoSettings:
    """Times of an experiment's analyses, and limits of carrying its decision out."""

    every_s: float = 60.0
    """Time between analyses, seconds."""
    for_s: float = 0.0
    """Longest wait for a decision, seconds; 0: one analysis."""
    settle_s: float = 3.0
    """Time that routers may take to read that a challenger was withdrawn: a few of their ``refresh_s``, seconds."""
    leave_s: float = 60.0
    """Time that they may take to leave it, seconds; after that it stays registered."""
    limits: Limits = field(default_factory=Limits)
    """Limits of the promotion or removal."""

    def __post_init__(self) -> None:
        if self.every_s <= 0 or min(self.for_s, self.settle_s, self.leave_s) < 0:
            raise InvalidArgument(f"expected every_s > 0 and times >= 0, got {self}")
        if self.limits.keep < 1:
            raise InvalidArgument(
                f"keep: expected at least 1, got {self.limits.keep}: routers use the baseline until "
                "the experiment has ended"
            )


DEFAULTS = AutoSettings()


@dataclass(frozen=True)
class ExperimentOutcome:
    """Outcome of an experiment."""

    state: State
    """Its state; RUNNING: there is no decision yet, or it could not be carried out."""
    ok: bool
    """Whether the decision was carried out."""
    reason: str
    """Reason for the state."""
    report: RolloutReport | None = None
    """Report of the promotion or removal, where there was one."""

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome in plain JSON types."""
        return asdict(self) | {"report": self.report and self.report.as_dict()}


def follow(
    target: Target,
    store: TrafficStore,
    name: str,
    settings: AutoSettings = DEFAULTS,
    progress: Progress = no_progress,
    show: Callable[[Analysis], None] = lambda _: None,
) -> ExperimentOutcome:
    """Analyse an experiment until there is a decision or the time is over, and carry the decision out.

    What an interrupted process left is finished first.

    Parameters
    ----------
    progress : callable
        Takes lines of progress.
    show : callable
        Takes every analysis.

    Raises
    ------
    NoExperiment
        There is none of this name, or it was stopped.
    RolloutRefused
        Another rollout of the model is under way, or the server's default version is a third one.
    ManagementError, StoreFailed
        The server or the store cannot be reached.
    """
    run = _Run(target, store, name, settings, progress)
    outcome = run.finish()
    deadline = time.monotonic() + settings.for_s
    incremental = IncrementalAnalysis(store, name)
    while outcome is None:
        incremental.update()
        analysis = incremental.analysis()
        show(analysis)
        if analysis.experiment.state is not State.RUNNING:
            outcome = run.finish()
        elif analysis.decision.action is not Action.CONTINUE:
            outcome = run.carry_out()
        if outcome is None:
            if time.monotonic() + settings.every_s > deadline:
                return ExperimentOutcome(State.RUNNING, True, analysis.decision.reason)
            time.sleep(settings.every_s)
    return outcome


@dataclass(frozen=True)
class _Run:
    """An experiment whose decision is carried out."""

    target: Target
    store: TrafficStore
    name: str
    settings: AutoSettings
    progress: Progress

    def finish(self) -> ExperimentOutcome | None:
        """Finish what an earlier process began; None for an experiment that is running."""
        experiment = find_experiment(self.store, self.name)
        model, challenger = experiment.model, experiment.challenger
        if experiment.state is State.STOPPED:
            raise NoExperiment(
                f"{self.name}: expected an experiment with a decision to carry out, got one that was stopped"
            )
        if experiment.state is State.PROMOTED:
            return ExperimentOutcome(State.PROMOTED, True, f"{challenger} was promoted")
        with locked(self.target, model, f"experiment {self.name}"):
            if (done := recover(self.target, model)) is not None:
                self.progress(done)
            if experiment.state is State.WITHDRAWN:
                return self._withdraw(experiment, f"{challenger} was withdrawn")
            if self.target.manager().default_version(model) == challenger:
                self.store.end(self.name, State.PROMOTED)
                return ExperimentOutcome(State.PROMOTED, True, f"{challenger} was the default version already")
        return None

    def carry_out(self) -> ExperimentOutcome | None:
        """Carry out the decision of all records; None where they say to go on, or another process ended it."""
        experiment = find_experiment(self.store, self.name)
        with locked(self.target, experiment.model, f"experiment {self.name}"):
            analysis = analyze(self.store, self.name)
            if analysis.experiment.state is not State.RUNNING or analysis.decision.action is Action.CONTINUE:
                return None
            reason = analysis.decision.reason
            if analysis.decision.action is Action.PROMOTE:
                self.progress(f"{self.name}: promote {experiment.challenger}: {reason}")
                return self._promote(experiment, reason)
            self.progress(f"{self.name}: roll back {experiment.challenger}: {reason}")
            return self._withdraw(self.store.end(self.name, State.WITHDRAWN), reason)

    def _promote(self, experiment: Split, reason: str) -> ExperimentOutcome:
        model, challenger = experiment.model, experiment.challenger
        check_challenger(self.target, model, challenger, experiment.baseline)
        report = promote(self.target, model, challenger, self.settings.limits, self.progress)
        if self.target.manager().default_version(model) != challenger:
            return ExperimentOutcome(State.RUNNING, False, f"{reason}; but {report.failed_at}: {report.reason}", report)
        self.store.end(experiment.name, State.PROMOTED)
        reason = reason if report.ok else f"{reason}; then {report.reason}"
        return ExperimentOutcome(State.PROMOTED, report.ok, reason, report)

    def _withdraw(self, experiment: Split, reason: str) -> ExperimentOutcome:
        """Unregister a withdrawn challenger once no router uses it any more."""
        model, challenger = experiment.model, experiment.challenger
        if challenger not in self.target.manager().versions(model):
            return ExperimentOutcome(State.WITHDRAWN, True, f"{reason}; {challenger} is not registered any more")
        running = self.store.running(model)
        if running is not None and challenger in (running.baseline, running.challenger):
            got = f"one of {running.name!r}"
            raise RolloutRefused(f"{model}/{challenger}: expected a version of no other split, got {got}")
        self.progress(f"{challenger} is withdrawn; waiting for its routers to leave it")
        if users := wait_until_unused(self.store, experiment, self.settings.settle_s, self.settings.leave_s):
            return ExperimentOutcome(State.WITHDRAWN, False, f"{reason}; {challenger} stays registered: {users} use it")
        report = remove(self.target, model, challenger, self.settings.limits, self.progress)
        reason = reason if report.ok else f"{reason}; {report.reason}"
        return ExperimentOutcome(State.WITHDRAWN, report.ok, reason, report)
