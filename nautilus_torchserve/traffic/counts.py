"""Counts of calls by version, taken as `CallWindow` at intervals."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.traffic.records import CallWindow, latency_bucket, output_buckets


@dataclass
class _Count:
    """Counts of one version since a time."""

    since_ns: int
    requests: int = 0
    errors: int = 0
    latency_ms_sum: float = 0.0
    latency_ms_squares: float = 0.0
    latencies: Counter[int] = field(default_factory=Counter)
    outputs: dict[str, Counter[int]] = field(default_factory=dict)


class CallCounts:
    """Counts of one router; safe to use from several threads.

    Parameters
    ----------
    model : str
    router : str
        Name of the router.
    """

    def __init__(self, model: str, router: str) -> None:
        self._model = model
        self._router = router
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], _Count] = {}

    def record_response(
        self, split: str, version: str, latency_ns: int, outputs: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Count a request that got a response."""
        latency_ms = latency_ns / 1e6
        buckets = {name: output_buckets(values) for name, values in outputs.items()}
        with self._lock:
            count = self._of(split, version)
            count.requests += 1
            count.latency_ms_sum += latency_ms
            count.latency_ms_squares += latency_ms**2
            count.latencies[latency_bucket(latency_ms)] += 1
            for name, counts in buckets.items():
                count.outputs.setdefault(name, Counter()).update(counts)

    def record_failure(self, split: str, version: str) -> None:
        """Count a request that got an error, or no response in time."""
        with self._lock:
            count = self._of(split, version)
            count.requests += 1
            count.errors += 1

    def take(self) -> list[CallWindow]:
        """Return the counts since the last call, and reset them."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return [
            CallWindow(
                split,
                self._model,
                version,
                self._router,
                count.since_ns,
                count.requests,
                count.errors,
                count.latency_ms_sum,
                count.latency_ms_squares,
                dict(count.latencies),
                {name: dict(buckets) for name, buckets in count.outputs.items()},
            )
            for (split, version), count in counts.items()
        ]

    def put_back(self, windows: Iterable[CallWindow]) -> None:
        """Restore windows that could not be stored: they add up, so that nothing grows in an outage."""
        with self._lock:
            for window in windows:
                count = self._of(window.split, window.version)
                count.since_ns = min(count.since_ns, window.since_ns)
                count.requests += window.requests
                count.errors += window.errors
                count.latency_ms_sum += window.latency_ms_sum
                count.latency_ms_squares += window.latency_ms_squares
                count.latencies.update(window.latencies)
                for name, buckets in window.outputs.items():
                    count.outputs.setdefault(name, Counter()).update(buckets)

    def _of(self, split: str, version: str) -> _Count:
        return self._counts.setdefault((split, version), _Count(time.time_ns()))
