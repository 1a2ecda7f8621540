"""A live run as its audit log has it, with what a backtest of the same needs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.audit.records import (
    KINDS,
    STARTED,
    STOPPED,
    AuditLog,
    DecisionRecord,
    FillRecord,
    HaltRecord,
    OrderRecord,
    PlaybackRecord,
    Record,
    RequestRecord,
    SessionRecord,
)
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.instruments.names import engine_name
from nautilus_torchserve.user_error import UserError


class NoParity(UserError, ValueError):
    """A recorded run and data that cannot be compared."""


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """Records of a run or of its backtest, every kind in order of time."""

    requests: tuple[RequestRecord, ...]
    decisions: tuple[DecisionRecord, ...]
    orders: tuple[OrderRecord, ...]
    fills: tuple[FillRecord, ...]
    halts: tuple[HaltRecord, ...]


@dataclass(frozen=True, eq=False)
class LoggedRun:
    """A run of a log."""

    session: SessionRecord
    """Its begin."""
    run: RecordedRun
    shift_ns: int
    """Shift that was added to the times of the data (nanoseconds)."""
    sha256: str
    """Hash of the played data; empty where they came from a venue."""
    until_ns: int
    """Time of its stop, or of the last record of a run that crashed, Unix ns."""
    lost: int
    """Records that are missing from the log."""


def recorded_run(log: AuditLog, run_id: str | None = None) -> LoggedRun:
    """Read a run; without ``run_id`` the one that was started last.

    Raises
    ------
    UnknownRun
        There is none.
    LogFailed
        The log cannot be read.
    """
    session = find_session(log, run_id)
    only = {"run_id": session.run_id}
    run = RecordedRun(
        tuple(log.read(RequestRecord, **only)),
        tuple(log.read(DecisionRecord, **only)),
        tuple(log.read(OrderRecord, **only)),
        tuple(log.read(FillRecord, **only)),
        tuple(log.read(HaltRecord, **only)),
    )
    playbacks = log.read(PlaybackRecord, **only)
    ends = [session.ts_ns for session in log.read(SessionRecord, **only) if session.event == STOPPED]
    every: tuple[Record, ...] = (session, *run.requests, *run.decisions, *run.orders, *run.fills)
    return LoggedRun(
        session=session,
        run=run,
        shift_ns=playbacks[0].shift_ns if playbacks else 0,
        sha256=playbacks[0].sha256 if playbacks else "",
        until_ns=max(ends) if ends else max(record.ts_ns for record in every),
        lost=count_lost(log, session.run_id),
    )


def check_data(recorded: LoggedRun, trades: Trades) -> None:
    """Refuse data that are not those of the run.

    Raises
    ------
    NoParity
    """
    if recorded.sha256 and recorded.sha256 != trades.sha256:
        raise NoParity(
            f"{trades.source}: expected the data that were played ({recorded.sha256[:12]}), got {trades.sha256[:12]}"
        )
    names = {request.instrument_id for request in recorded.run.requests}
    if not names:
        raise NoParity(f"run {recorded.session.run_id}: expected questions in the log, got none")
    if names != {engine_name(trades.instrument.instrument_id)}:
        raise NoParity(
            f"{trades.source}: expected trades of {', '.join(sorted(names))}, got {trades.instrument.instrument_id}"
        )


def locate_events(recorded: LoggedRun, source: str, ts_event: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each request's newest event among those of the data [requests]; -1 where there is none.

    A run counts events from its own first one, which need not be that of the data; and of several events at one time
    the time does not identify one.

    Parameters
    ----------
    ts_event : int64 [n]
        Times of the events in the run's time, Unix ns.

    Raises
    ------
    NoParity
        The data have none of them.
    """
    requests = recorded.run.requests
    numbers = np.array([request.question for request in requests], np.int64)
    times = np.array([request.ts_event for request in requests], np.int64)
    first = np.searchsorted(ts_event, times[0], "left")
    stop = np.searchsorted(ts_event, times[0], "right")
    best = np.full(len(requests), -1, np.int64)
    for candidate in range(int(first), int(stop)):
        positions = _at(ts_event, numbers + (candidate - numbers[0]), times)
        if (positions >= 0).sum() > (best >= 0).sum():
            best = positions
    if not (best >= 0).any():
        raise NoParity(f"{source}: expected the events of run {recorded.session.run_id}, got none")
    missing = best < 0  # the run's stream had a gap, or began before the data: by time, where only one event has it
    first_at = np.searchsorted(ts_event, times[missing], "left")
    last_at = np.searchsorted(ts_event, times[missing], "right") - 1
    best[missing] = np.where(first_at == last_at, first_at, -1)
    return best


def _at(ts_event: NDArray[np.int64], rows: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows at which there is an event of the time, -1 in place of the others."""
    inside = (rows >= 0) & (rows < len(ts_event))
    valid_rows = np.where(inside, rows, 0)
    return np.where(inside & (ts_event[valid_rows] == times), rows, -1)


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
