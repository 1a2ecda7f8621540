"""What a rollout did, step by step: for a person, for a CI job, for whoever asks a year later."""

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nautilus_torchserve.files.atomic_file import fresh_file, naming, settle
from nautilus_torchserve.files.state_file import write_state
from nautilus_torchserve.user_error import UserError

DONE = ("serving", "candidate", "removed", "nothing to do")
"""Outcomes that were asked for."""
UNRECORDED = "unrecorded"
"""Outcome: the server is as was asked, but what is to be remembered of it could not be written; `repair` does it."""
INTERRUPTED = "interrupted"
"""The reason of one that Ctrl-C or SIGTERM ended."""
_REPORT_BYTES = 64 << 10
"""More than a report takes."""


class Unrecorded(UserError):
    """The server is as was asked, but the report, or what is to be remembered of it, could not be written."""

    exit_code = 3


@dataclass(frozen=True)
class Step:
    """One step that was begun."""

    name: str
    """``verify``, ``store``, ``load``, ``golden``, ``parity``, ``latency``, ``set default``, ``watch``, ..."""
    ok: bool
    """Whether it came to its end."""
    took_ms: float
    """Wall time, milliseconds."""
    found: dict[str, Any]
    """What it measured, in plain JSON types."""


@dataclass(frozen=True)
class Report:
    """One rollout, ended."""

    action: str
    """``register``, ``promote``, ``rollback`` or ``remove``."""
    model: str
    version: str
    """What it was about; empty when that could not be read."""
    digest: str
    """Content digest of its archive; empty when not known."""
    previous: str | None
    """The default version before."""
    default: str | None
    """The default version now, as the server says; None where it has none or does not answer."""
    outcome: str
    """One of `DONE`, or `UNRECORDED`; ``undone``: it failed, all is as before; ``left``: it failed, and so did undoing
    or finishing it; ``unchecked``: it was rolled back to, but its golden answers are wrong or do not come."""
    failed_at: str | None
    """Name of the step that failed."""
    reason: str | None
    """Why, in words."""
    steps: tuple[Step, ...]
    began: str
    """ISO 8601, UTC."""
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether what was asked for is so now."""
        return self.outcome in DONE

    @property
    def done(self) -> bool:
        """Whether the server is as was asked, be it recorded or not."""
        return self.ok or self.outcome == UNRECORDED

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {**asdict(self), "ok": self.ok}

    def as_text(self) -> str:
        """For people."""
        digest = self.digest[:12] or "digest unknown"
        lines = [f"{self.action} {self.model} {self.version} ({digest}), {self.began}", ""]
        for step in self.steps:
            found = ", ".join(f"{name} {_shown(name, value)}" for name, value in step.found.items())
            state = "done  " if step.ok else "FAILED"
            lines.append(f"  {state} {step.name:<12} {step.took_ms:9.1f} ms  {found}".rstrip())
        lines += [
            "",
            f"{self.outcome} after {self.took_s:.1f} s; default version now: {self.default or 'unknown'}, "
            f"before: {self.previous or 'none'}",
        ]
        if self.reason is not None:
            lines.append(f"{self.failed_at}: {self.reason}")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Keep it as JSON and as text; returns the JSON's path. Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.strptime(self.began, "%Y-%m-%dT%H:%M:%SZ"))
        name = f"{stamp}-{self.action}-{self.model}-{self.version or 'unknown'}"
        path, number = folder / f"{name}.json", 1
        while path.exists():
            number += 1
            path = folder / f"{name}.{number}.json"
        write_state(path, self.as_dict())
        text = path.with_suffix(".txt")
        with naming(text), fresh_file(folder, text.name) as file:
            file.write(self.as_text().encode())
            settle(file, text, 0o644)
        return path


def check_writable(folder: Path) -> None:
    """Make the folder of reports and see that it takes one, before anything is begun. Raises `OSError`."""
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with fresh_file(folder, "report") as file:
            file.write(bytes(_REPORT_BYTES))
            file.flush()
            os.fsync(file.fileno())


def _shown(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if name == "digest":
        return str(value)[:12]
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
