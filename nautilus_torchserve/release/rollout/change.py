"""One change of a model's versions while it is carried out: its steps, its journal and its report."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from nautilus_torchserve.files.state_file import DamagedState
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.journal import (
    Action,
    Journal,
    PendingChange,
    RolloutRefused,
    locked,
    read_journal,
    write_journal,
)
from nautilus_torchserve.release.rollout.repair import recover, undo
from nautilus_torchserve.release.rollout.report import INTERRUPTED, UNRECORDED, Progress, RolloutReport, Step
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.workers import NoCounters
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.serving.server.properties import BadProperties, read_properties
from nautilus_torchserve.signing.archive_signature import Untrusted
from nautilus_torchserve.user_error import describe
from nautilus_torchserve.wire.errors import RequestError
from nautilus_torchserve.wire.names import InvalidName, check_version

_UNWRITABLE = (OSError, DamagedState, BadProperties)
"""Errors of writing the journal or the server's configuration."""
FAILURES = (
    GateFailed,
    Untrusted,
    UnreadableArchive,
    BadArchive,
    ManagementError,
    RequestError,
    NoCounters,
    OSError,
    DamagedState,
    BadProperties,
    KeyboardInterrupt,
)
"""Errors that make a change fail: it is undone and reported. After others it is undone, and they rise."""


@dataclass
class Change:
    """A change under way. `carry_out` makes one and passes it to the function that does the steps."""

    target: Target
    model: str
    action: Action
    progress: Progress
    urgent: bool = False
    """Whether the change goes on where the journal cannot be written, as a rollback does."""
    previous: str | None = None
    """The default version when it began."""
    version: str = ""
    digest: str = ""
    steps: list[Step] = field(default_factory=list)
    begun: bool = False
    """Whether anything may have changed."""
    switched: bool = False
    """Whether an urgent change is made, and only its checks are left."""
    unrecorded: str | None = None
    """Reason why the journal could not be written."""

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time and record one step; its measurements go into the dictionary."""
        self.progress(f"{self.action} {self.model} {self.version}: {name}")
        measured: dict[str, Any] = {}
        began, done = time.perf_counter(), False
        try:
            if name != "undo":  # it needs no free space
                self.enter(name)
            yield measured
            done = True
        finally:
            self.steps.append(Step(name, done, (time.perf_counter() - began) * 1000, measured))

    def enter(self, name: str) -> None:
        """Record which step is under way."""
        self._change_under_way(step=name)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Carry on where an urgent change cannot be recorded."""
        try:
            yield
        except _UNWRITABLE as error:
            if not self.urgent:
                raise
            self.unrecorded = self.unrecorded or _reason(error)

    def begin(self, version: str, digest: str, file: str | None = None, registers: bool = False) -> None:
        """Record what is going to change, before anything does: from now on it can be undone."""
        self.version, self.digest, self.begun = version, digest, True
        under_way = PendingChange(
            self.action, check_version(version), self.previous, file=file, registers=registers, digest=digest
        )
        self._write(replace(self.journal(), under_way=under_way))

    def reach_point_of_no_return(self) -> None:
        """Record that all gates were passed: from now on it is finished, not undone."""
        self._change_under_way(point_of_no_return=True)

    def end(self) -> None:
        """Record that nothing is under way any more."""
        self._write(replace(self.journal(), under_way=None))

    def journal(self) -> Journal:
        """Return the model's journal."""
        return read_journal(self.target, self.model)

    def _change_under_way(self, **values: Any) -> None:
        journal = self.journal()
        if journal.under_way is not None:
            self._write(replace(journal, under_way=replace(journal.under_way, **values)))

    def _write(self, journal: Journal) -> None:
        with self.recording():
            write_journal(self.target, self.model, journal)


def carry_out(
    target: Target,
    model: str,
    action: Action,
    progress: Progress,
    work: Callable[[Change], str],
    drain_s: float | None = None,
    urgent: bool = False,
) -> RolloutReport:
    """Carry a change out under the model's lock, undo it where it fails, and report.

    Parameters
    ----------
    work : callable
        Does the steps; returns the report's outcome.
    drain_s : float, optional
        As in `Limits`, for undoing.
    urgent : bool
        As in `Change`.

    Raises
    ------
    RolloutRefused, DamagedState, BadProperties, InvalidName
        Nothing was begun.
    """
    began = time.time()
    with locked(target, model, action):
        change = Change(target, model, action, progress, urgent)
        failed_at = reason = None
        try:
            _prepare(change)
            outcome = work(change)
            if change.unrecorded is not None:
                failed_at, reason, outcome = "remember", change.unrecorded, UNRECORDED
        except FAILURES as error:
            if isinstance(error, DamagedState | BadProperties) and not change.begun:
                raise
            failed_at = next((step.name for step in reversed(change.steps) if not step.ok), "begin")
            reason = _reason(error)
            progress(f"{action} {model} {change.version}: {failed_at} failed: {reason}")
            outcome = UNRECORDED if _is_done(change, error) else _undo(change, drain_s)
        except (RolloutRefused, InvalidName):
            raise
        except BaseException:
            _undo(change, drain_s)
            raise
        return RolloutReport(
            action,
            model,
            change.version,
            change.digest,
            change.previous,
            default_now(target, model),
            outcome,
            failed_at,
            reason,
            tuple(change.steps),
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            time.time() - began,
        )


def _prepare(change: Change) -> None:
    """Recover what a killed process left, and find the default version, wherever it was set."""
    target, model = change.target, change.model
    if change.journal().under_way is not None:
        with change.step("recover") as measured, change.recording():
            measured["done"] = recover(target, model)
    if target.config is not None and not change.urgent:
        read_properties(target.config)  # every change is written into it
    change.previous = target.manager().default_version(model)
    if change.previous is not None:
        check_version(change.previous)
    journal = change.journal()
    if (updated := journal.with_server_default(change.previous)) != journal:
        change._write(updated)


def _is_done(change: Change, error: BaseException) -> bool:
    """Return whether the server is in the requested state, and only the record of it is missing."""
    under_way = change.journal().under_way
    if not isinstance(error, _UNWRITABLE) or under_way is None or not under_way.point_of_no_return:
        return False
    try:
        manager = change.target.manager()
        if change.action == "remove":
            return change.version not in manager.versions(change.model)
        return change.action != "rollback" or manager.default_version(change.model) == change.version
    except ManagementError:
        return False


def default_now(target: Target, model: str) -> str | None:
    """Return the default version; None where there is none, or the server does not respond."""
    try:
        return target.manager().default_version(model)
    except ManagementError:
        return None


def _undo(change: Change, drain_s: float | None) -> str:
    """Undo what was begun, and return the report's outcome."""
    if change.switched:
        return "unchecked"
    under_way = change.journal().under_way
    if under_way is None:
        return "undone"
    if under_way.point_of_no_return:
        return "left"  # the next rollout or `repair` finishes it
    try:
        with change.step("undo") as measured:
            measured["done"] = undo(change.target, change.model, drain_s)
    except FAILURES as error:
        description = f"{change.action} {change.model} {change.version}"
        change.progress(f"{description}: not undone, repair it later: {_reason(error)}")
        return "left"
    return "undone"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return describe(error)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"{error}" or type(error).__name__
