"""Runs of a log, and the number of records that a run lacks."""

from nautilus_torchserve.audit.log import AuditLog
from nautilus_torchserve.audit.records import KINDS, STARTED, SessionRecord
from nautilus_torchserve.user_error import UserError


class UnknownRun(UserError, LookupError):
    """The log has no such run."""


def find_session(log: AuditLog, run_id: str | None = None) -> SessionRecord:
    """Return a run's begin; without ``run_id`` that of the run that was started last.

    Raises
    ------
    UnknownRun
        There is none.
    LogFailed
        The log cannot be read.
    """
    sessions = log.read(SessionRecord, event=STARTED, **({} if run_id is None else {"run_id": run_id}))
    if not sessions:
        wanted = "a run" if run_id is None else f"run {run_id}"
        raise UnknownRun(f"{log.name}: expected {wanted} in the log, got none")
    return max(sessions, key=lambda session: session.wall_ns)


def count_lost(log: AuditLog, run_id: str) -> int:
    """Return how many records between a run's first and its last are missing.

    Raises
    ------
    LogFailed
        The log cannot be read.
    """
    seqs = {record.seq for kind in KINDS for record in log.read(kind, run_id=run_id)}
    return max(seqs) + 1 - len(seqs) if seqs else 0
