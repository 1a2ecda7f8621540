"""One change of a model's versions while it is carried out: its steps, its journal, its end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from handlers.model_files import BadArchive
from release.counters import NoCounters
from release.gates import GateFailed
from release.journal import RolloutRefused, UnderWay, locked, read_journal, write_journal
from release.repair import mend, undo
from release.rollout_report import INTERRUPTED, Report, Step
from release.target import Target
from serving.archive_import import UnreadableArchive
from serving.management import ManagementError
from signing.archive_signature import Untrusted
from wire.errors import RequestError

Say = Callable[[str], None]
FAILURES = (
    GateFailed, Untrusted, UnreadableArchive, BadArchive, ManagementError, RequestError, NoCounters, OSError,
    KeyboardInterrupt,
)
"""What makes a change fail, to be undone and reported; anything else is a mistake of ours, undone and raised."""


def say_nothing(_: str) -> None:
    """For callers that read the report."""


@dataclass
class Change:
    """A change under way. `carry_out` makes one and hands it to the function that knows the steps."""

    target: Target
    model: str
    action: str
    say: Say
    previous: str | None = None
    """The default version when it began."""
    version: str = ""
    digest: str = ""
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Do one step inside; what it measures goes into the dictionary."""
        self._remember(name)
        self.say(f"{self.action} {self.model} {self.version}: {name}")
        found: dict[str, Any] = {}
        began, done = time.perf_counter(), False
        try:
            yield found
            done = True
        finally:
            self.steps.append(Step(name, done, (time.perf_counter() - began) * 1000, found))

    def begin(self, version: str, digest: str, file: str | None = None, registers: bool = False) -> None:
        """Write down what is going to be changed, before anything is: from now on it can be undone."""
        self.version, self.digest = version, digest
        under_way = UnderWay(self.action, version, self.previous, file=file, registers=registers)
        write_journal(self.target, self.model, replace(read_journal(self.target, self.model), under_way=under_way))

    def passed(self) -> None:
        """All gates are behind it: from now on it is finished, not undone."""
        self._change_under_way(passed=True)

    def end(self) -> None:
        """Nothing is under way any more."""
        journal = read_journal(self.target, self.model)
        write_journal(self.target, self.model, replace(journal, under_way=None))

    def _remember(self, step: str) -> None:
        if read_journal(self.target, self.model).under_way is not None:
            self._change_under_way(step=step)

    def _change_under_way(self, **values: Any) -> None:
        journal = read_journal(self.target, self.model)
        assert journal.under_way is not None
        write_journal(self.target, self.model, replace(journal, under_way=replace(journal.under_way, **values)))


def carry_out(
    target: Target, model: str, action: str, say: Say, work: Callable[[Change], str], drain_s: float | None = None
) -> Report:
    """Do a change under the model's lock, undo it when it fails, and report.

    Parameters
    ----------
    work : callable
        Does the steps; returns the report's outcome.
    drain_s : float, optional
        As in `Limits`, for the undoing.

    Raises
    ------
    RolloutRefused
        Nothing was begun.
    """
    began = time.time()
    with locked(target, model, action):
        change = Change(target, model, action, say)
        failed_at = reason = None
        try:
            _take_up(change)
            outcome = work(change)
        except FAILURES as error:
            failed_at, reason = _last_failed(change), _in_words(error)
            say(f"{action} {model} {change.version}: {failed_at} failed: {reason}")
            outcome = _undo(change, drain_s)
        except RolloutRefused:
            raise
        except BaseException:
            _undo(change, drain_s)
            raise
        return Report(
            action, model, change.version, change.digest, change.previous, outcome, failed_at, reason,
            tuple(change.steps), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)), time.time() - began,
        )


def _take_up(change: Change) -> None:
    """Mend what a killed process left; find the default version, whoever set it."""
    target, model = change.target, change.model
    if read_journal(target, model).under_way is not None:
        with change.step("mend") as found:
            found["done"] = mend(target, model)
    change.previous = target.manager().default_version(model)
    write_journal(target, model, read_journal(target, model).with_default(change.previous))


def _undo(change: Change, drain_s: float | None) -> str:
    """Undo what was begun; the report's outcome."""
    under_way = read_journal(change.target, change.model).under_way
    if under_way is None:
        return "undone"
    if under_way.passed:
        return "left"  # all gates are behind it: the next rollout or `repair` finishes it
    try:
        with change.step("undo") as found:
            found["done"] = undo(change.target, change.model, drain_s)
    except FAILURES as error:
        change.say(f"{change.action} {change.model} {change.version}: not undone, repair it later: {_in_words(error)}")
        return "left"
    return "undone"


def _last_failed(change: Change) -> str:
    return next((step.name for step in reversed(change.steps) if not step.ok), "begin")


def _in_words(error: BaseException) -> str:
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"{error}" or type(error).__name__
