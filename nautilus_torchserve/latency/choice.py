"""Selection of a run's delay: constant or from a recorded profile."""

import heapq
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.latency.profile import LatencyProfile, load_profile
from nautilus_torchserve.user_error import InvalidArgument


class Delay(Protocol):
    """Maps the arrivals of one run's requests, in order, to the times at which their responses are due.

    The two methods agree and share their state: a stream may be passed one request at a time, or in chunks of any
    size, with the same result.
    """

    def due(self, arrival_ns: int) -> int:
        """Return when the response to a request is due, Unix ns; requests never arrive before their predecessor."""

    def due_many(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `due` of requests [n] in order."""


class ConstantDelay:
    """The same delay for every response, whatever the load.

    Parameters
    ----------
    latency_ns : int
        Nanoseconds, 0 or more. With 0 a response is due at its own event's time, after all data of that time.
    """

    def __init__(self, latency_ns: int) -> None:
        self._latency_ns = latency_ns

    def due(self, arrival_ns: int) -> int:
        return arrival_ns + self._latency_ns

    def due_many(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        return arrival_ns + self._latency_ns


_DRAWN_AT_ONCE = 4096
"""Draws are made in chunks of this many, so that they do not depend on how the requests are passed."""


def chosen_delay(latency_ns: int, profile: Path | None, workers: int | None, seed: int) -> Delay:
    """Return the queued delay of a profile if there is one, else a constant delay.

    Parameters
    ----------
    latency_ns : int
        The constant, nanoseconds; ignored if there is a profile.
    workers : int, optional
        Servers behind the queue; None takes as many as the profile was recorded from.
    seed : int
        Seed of the draws from the profile.

    Raises
    ------
    BadProfile
        The file cannot be read.
    """
    if profile is None:
        return ConstantDelay(latency_ns)
    recorded = load_profile(profile)
    return QueuedDelay(recorded, recorded.workers if workers is None else workers, seed)


class QueuedDelay:
    """A `latency.choice.Delay`: first come, first served by ``workers`` servers.

    The k-th request occupies the server that is free first for a time drawn, with replacement, from the profile. When
    requests come faster than they are served the queue grows, which a constant delay hides. With several workers,
    responses may arrive out of the order of their requests. Times are integers throughout: the same profile, workers
    and seed give the same times to the nanosecond.

    Parameters
    ----------
    profile : LatencyProfile
    workers : int
        At least 1; may differ from the profile's, to simulate more or fewer workers.
    seed : int
        Seed of the draws, 0 or more.

    Raises
    ------
    ValueError
        Fewer workers than 1 or a negative seed; in `due` and `due_many` an arrival before its predecessor.
    """

    def __init__(self, profile: LatencyProfile, workers: int, seed: int) -> None:
        if workers < 1:
            raise InvalidArgument(f"latency queue: expected at least 1 worker, got {workers}")
        if seed < 0:
            raise InvalidArgument(f"latency queue: expected a seed of at least 0, got {seed}")
        self._service_ns = profile.service_ns
        self._random = np.random.default_rng(seed)
        self._drawn = np.empty(0, dtype=np.int64)  # of which those from _next on are not used yet
        self._next = 0
        self._free = [0] * workers  # a heap: when each worker is free
        self._latest = 0

    def due(self, arrival_ns: int) -> int:
        """Return when the response to a request is due, Unix ns; requests never arrive before their predecessor."""
        if arrival_ns < self._latest:
            raise _out_of_order(self._latest, arrival_ns)
        self._latest = arrival_ns
        return self._serve(arrival_ns, int(self._draw(1)[0]))

    def due_many(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `due` of requests [n] in order; the state is unchanged if they are refused."""
        before = np.concatenate([[self._latest], arrival_ns[:-1]])
        if (early := np.flatnonzero(arrival_ns < before)).size:
            raise _out_of_order(int(before[early[0]]), int(arrival_ns[early[0]]))
        due = np.empty(len(arrival_ns), dtype=np.int64)
        done = 0
        while done < len(due):
            service = self._draw(len(due) - done)
            arrived = arrival_ns[done : done + len(service)]
            due[done : done + len(service)] = self._serve_many(arrived, service)
            done += len(service)
        if len(due):
            self._latest = int(arrival_ns[-1])
        return due

    def _draw(self, count: int) -> NDArray[np.int64]:
        """Return from 1 to ``count`` service times, as many as are drawn already."""
        if self._next == len(self._drawn):
            self._drawn = self._random.choice(self._service_ns, size=_DRAWN_AT_ONCE)
            self._next = 0
        drawn = self._drawn[self._next : self._next + count]
        self._next += len(drawn)
        return drawn

    def _serve_many(self, arrived: NDArray[np.int64], service: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(self._free) > 1:
            pairs = zip(arrived.tolist(), service.tolist(), strict=True)
            return np.array([self._serve(at, took) for at, took in pairs], dtype=np.int64)
        # One worker: d_k = S_k + max(free, max over j <= k of a_j - S_(j-1)), S the running sum of service times.
        until = np.cumsum(service)
        due = until + np.maximum(np.maximum.accumulate(arrived - (until - service)), self._free[0])
        self._free[0] = int(due[-1])
        return due

    def _serve(self, arrived: int, took: int) -> int:
        done = max(arrived, self._free[0]) + took
        heapq.heapreplace(self._free, done)
        return done


def _out_of_order(latest: int, arrival_ns: int) -> ValueError:
    return ValueError(f"latency queue: expected an arrival at or after {latest}, got {arrival_ns}")
