"""Report of a rollout, step by step, and the end of the command that carried it out."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nautilus_torchserve.files.atomic_file import free_path, fresh_file, naming, settle
from nautilus_torchserve.files.state_file import write_state
from nautilus_torchserve.user_error import UserError, describe

Progress = Callable[[str], None]
"""Takes one line of progress."""
DONE = ("serving", "candidate", "removed", "nothing to do")
"""Outcomes of a rollout that succeeded."""
UNRECORDED = "unrecorded"
"""Outcome: the server is in the requested state, but the journal could not be written; `repair` writes it."""
INTERRUPTED = "interrupted"
"""Reason of a rollout that Ctrl-C or SIGTERM ended."""
_REPORT_BYTES = 64 << 10
"""Upper bound of a report's size."""


def no_progress(_: str) -> None:
    """Discard progress."""


class Unrecorded(UserError):
    """The server is in the requested state, but the report or the journal could not be written."""

    exit_code = 3


@dataclass(frozen=True)
class Step:
    """One step of a rollout."""

    name: str
    """``verify``, ``store``, ``load``, ``golden``, ``parity``, ``latency``, ``set default``, ``watch``, ..."""
    ok: bool
    """Whether the step succeeded."""
    took_ms: float
    """Wall time, milliseconds."""
    found: dict[str, Any]
    """Measurements, in plain JSON types."""


@dataclass(frozen=True)
class RolloutReport:
    """One rollout that has ended."""

    action: str
    """``register``, ``promote``, ``rollback`` or ``remove``."""
    model: str
    version: str
    """The version rolled out; empty where it could not be read."""
    digest: str
    """Content digest of its archive; empty where it is not known."""
    previous: str | None
    """The default version before."""
    default: str | None
    """The server's default version now; None where it has none or does not respond."""
    outcome: str
    """One of `DONE`, or `UNRECORDED`; ``undone``: it failed, and everything is as before; ``left``: it failed, and so
    did undoing or finishing it; ``unchecked``: rolled back to, but its golden outputs are wrong or missing."""
    failed_at: str | None
    """Name of the step that failed."""
    reason: str | None
    """Reason of the failure."""
    steps: tuple[Step, ...]
    began: str
    """ISO 8601, UTC."""
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether the rollout succeeded."""
        return self.outcome in DONE

    @property
    def done(self) -> bool:
        """Whether the server is in the requested state, recorded or not."""
        return self.ok or self.outcome == UNRECORDED

    def as_dict(self) -> dict[str, Any]:
        """Return the report in plain JSON types."""
        return {**asdict(self), "ok": self.ok}

    def as_text(self) -> str:
        """Return the report as text."""
        digest = self.digest[:12] or "digest unknown"
        lines = [f"{self.action} {self.model} {self.version} ({digest}), {self.began}", ""]
        for step in self.steps:
            measured = ", ".join(f"{name} {_format(name, value)}" for name, value in step.found.items())
            state = "done  " if step.ok else "FAILED"
            lines.append(f"  {state} {step.name:<12} {step.took_ms:9.1f} ms  {measured}".rstrip())
        lines += [
            "",
            f"{self.outcome} after {self.took_s:.1f} s; default version now: {self.default or 'unknown'}, "
            f"before: {self.previous or 'none'}",
        ]
        if self.reason is not None:
            lines.append(f"{self.failed_at}: {self.reason}")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Write the report as JSON and as text, and return the path of the JSON. Raises `OSError`."""
        name = f"{self.action}-{self.model}-{self.version or 'unknown'}"
        return write_files(folder, self.began, name, self.as_dict(), self.as_text())


def write_files(folder: Path, began: str, name: str, document: dict[str, Any], text: str) -> Path:
    """Write a report as JSON and as text, named by when it began; return the path of the JSON. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.strptime(began, "%Y-%m-%dT%H:%M:%SZ"))
    path = free_path(folder, f"{stamp}-{name}", ".json")
    write_state(path, document)
    text_path = path.with_suffix(".txt")
    with naming(text_path), fresh_file(folder, text_path.name) as file:
        file.write(text.encode())
        settle(file, text_path, 0o644)
    return path


def check_report_folder(folder: Path) -> None:
    """Make the folder of reports and check that it takes one, before a rollout begins; raises `UserError`."""
    try:
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with fresh_file(folder, "report") as file:
                file.write(bytes(_REPORT_BYTES))
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{describe(error)}: expected a folder that takes the report; nothing was begun") from None


def write_report(report: RolloutReport, folder: Path) -> tuple[Path | None, list[str]]:
    """Write the report, and return its path, and what could not be written and why."""
    try:
        return report.write(folder), []
    except OSError as error:
        return None, [f"the report could not be written: {describe(error)}"]


def raise_if_not_ok(report: RolloutReport, unwritten: list[str]) -> None:
    """Raise what ends the command where the rollout failed or was not recorded.

    Raises
    ------
    Unrecorded
        The server is in the requested state, but something could not be written.
    UserError
        It is not.
    """
    default = f"default version now: {report.default or 'unknown'}"
    if report.outcome == UNRECORDED:
        unwritten = [
            f"{report.failed_at} failed: {report.reason}; nautilus-torchserve rollout repair writes it down",
            *unwritten,
        ]
    elif not report.ok:
        raise UserError("; ".join([f"{report.failed_at}: {report.reason}", default, *unwritten]))
    if unwritten:
        result = f"{report.model}: {report.action} of {report.version} is done ({default})"
        raise Unrecorded("; ".join([f"{result}, but {unwritten[0]}", *unwritten[1:]]))


def _format(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if name == "digest":
        return str(value)[:12]
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
