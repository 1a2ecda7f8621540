"""Service times recorded from a real server: their derivation from client-side timestamps, and their file format."""

import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.user_error import InvalidArgument, UserError

FORMAT = 1
"""Format version of the file; others are refused."""
LONGEST_NS = 86_400_000_000_000
"""Longest service time accepted: a day. It also keeps sums of many within int64."""


class BadProfile(UserError, ValueError):
    """An invalid latency profile; names the file, the field and its value."""


@dataclass(frozen=True, eq=False)
class LatencyProfile:
    """The times for which requests occupied a worker, queueing excluded.

    Raises
    ------
    BadProfile
        A field is invalid.
    """

    service_ns: NDArray[np.int64]
    """Service times [n] in the order of the requests' arrival, nanoseconds, each at least 1."""
    workers: int
    """Number of workers that served them in parallel."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Circumstances: model, version, digest, arrivals, rate, time, machine, p50 and p99 of the whole
    latency. For information only: nothing is computed from it."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadProfile(f"workers: expected a whole number of at least 1, got {self.workers}")
        if self.service_ns.dtype != np.int64 or self.service_ns.ndim != 1 or len(self.service_ns) == 0:
            got = f"{self.service_ns.dtype} {list(self.service_ns.shape)}"
            raise BadProfile(f"service_ns: expected int64 [n] with at least 1 time, got {got}")
        if self.service_ns.min() < 1 or self.service_ns.max() > LONGEST_NS:
            row = int(np.flatnonzero((self.service_ns < 1) | (self.service_ns > LONGEST_NS))[0])
            raise BadProfile(
                f"service_ns[{row}]: expected nanoseconds from 1 to {LONGEST_NS} (a day), got {self.service_ns[row]}"
            )


class ServiceTimes(NamedTuple):
    """Result of `service_times`."""

    service_ns: NDArray[np.int64]
    """[n], nanoseconds, each at least 1."""
    raised: int
    """Number of times raised to 1 ns: of requests completed before the queue's rule lets them begin."""


def service_times(arrival_ns: NDArray[np.int64], completion_ns: NDArray[np.int64], workers: int) -> ServiceTimes:
    """Return the service times that make a first-come-first-served queue give the recorded completions.

    The queue is run backwards: request k began at ``b_k = max(a_k, when the worker that is free first is free)``, so
    it occupied a worker for ``s_k = c_k - b_k`` (for one worker Lindley's recursion: D. V. Lindley, "The theory of
    queues with a single server", Proc. Camb. Phil. Soc. 48, 1952; for several, Kiefer & Wolfowitz, Trans. AMS 78,
    1955). Replaying the times in this order over the same arrivals gives the recorded completions back.

    A server that batches, or answers out of turn, may complete a request at or before its ``b_k``. Such a time is
    raised to 1 ns and counted; in the replay that request completes at ``b_k + 1``, all others as recorded.

    Parameters
    ----------
    arrival_ns, completion_ns : int64 [n]
        In the order of arrival, on one clock.
    workers : int

    Raises
    ------
    ValueError
        No pairs, arrivals out of order, a completion before its arrival, or less than one worker.
    """
    if workers < 1:
        raise InvalidArgument(f"service times: expected at least 1 worker, got {workers}")
    if len(arrival_ns) == 0 or arrival_ns.shape != completion_ns.shape:
        got = f"{len(arrival_ns)} and {len(completion_ns)}"
        raise InvalidArgument(f"service times: expected as many completions as arrivals, at least 1, got {got}")
    if (np.diff(arrival_ns) < 0).any():
        raise InvalidArgument("service times: expected arrivals in order, got another order")
    if (completion_ns < arrival_ns).any():
        early = int(np.flatnonzero(completion_ns < arrival_ns)[0])
        raise InvalidArgument(
            f"service times: expected completions at or after their arrivals, got {completion_ns[early]} for "
            f"{arrival_ns[early]} in request {early}"
        )
    free = [int(arrival_ns[0])] * workers
    service, raised = [], 0
    for arrived, completed in zip(arrival_ns.tolist(), completion_ns.tolist(), strict=True):
        began = max(arrived, free[0])
        took = completed - began
        if took < 1:
            took, raised = 1, raised + 1
        heapq.heapreplace(free, began + took)
        service.append(took)
    return ServiceTimes(np.array(service, dtype=np.int64), raised)


def save_profile(profile: LatencyProfile, path: Path) -> None:
    """Write a profile as JSON; the folder is made if missing."""
    fields = {
        "format": FORMAT,
        "about": dict(profile.about),
        "workers": profile.workers,
        "service_ns": profile.service_ns.tolist(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields) + "\n", encoding="utf-8")


def load_profile(path: Path) -> LatencyProfile:
    """Read the profile that `save_profile` wrote.

    Raises
    ------
    BadProfile
        The file cannot be read, or is no latency profile.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: no JSON, or no UTF-8
        raise BadProfile(f"{path}: expected a latency profile as JSON, got unreadable data: {error}") from None
    try:
        return _profile_of(fields)
    except BadProfile as error:
        raise BadProfile(f"{path}: {error}") from None


def _profile_of(fields: Any) -> LatencyProfile:
    if not isinstance(fields, dict):
        raise BadProfile(f"expected a JSON object, got {type(fields).__name__}")
    if (version := fields.get("format", "missing")) != FORMAT:
        raise BadProfile(f"format: expected {FORMAT}, got {version}")
    workers, about, service = (fields.get(name) for name in ("workers", "about", "service_ns"))
    if not _is_whole(workers):
        raise BadProfile(f"workers: expected a whole number of at least 1, got {_shown(workers)}")
    if not isinstance(about, dict):
        raise BadProfile(f"about: expected an object, got {_shown(about)}")
    if not isinstance(service, list):
        raise BadProfile(f"service_ns: expected a list of nanoseconds, got {_shown(service)}")
    for at, took in enumerate(service):
        if not _is_whole(took) or not 1 <= took <= LONGEST_NS:
            raise BadProfile(
                f"service_ns[{at}]: expected nanoseconds from 1 to {LONGEST_NS} (a day), got {_shown(took)}"
            )
    return LatencyProfile(np.array(service, dtype=np.int64), workers, about)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value)[:60]
