"""Records of a model's traffic: windows of calls, scored predictions, closed trades, a challenger's shadow answers."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Record:
    """Fields that all records have."""

    split: str
    """Name of the split that was running; empty without one."""
    model: str
    version: str


@dataclass(frozen=True)
class CallWindow(Record):
    """One router's calls of one version in a short period. Windows add up."""

    router: str
    """Name of the router."""
    since_ns: int
    """Start of the window, Unix nanoseconds of the wall clock."""
    requests: int
    """Requests sent; those that failed are among them."""
    errors: int
    """Requests that got an error or no response in time."""
    latency_ms_sum: float
    """Over the answered requests, milliseconds."""
    latency_ms_squares: float
    """Sum of squares over the answered requests, ms^2."""
    latencies: Mapping[int, int] = field(default_factory=dict)
    """`latency_bucket` -> answered requests."""
    outputs: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Output -> `output_bucket` -> rows answered."""


@dataclass(frozen=True)
class ScoredPrediction(Record):
    """A prediction whose outcome is known. The horizons of one instrument's predictions do not overlap."""

    instrument_id: str
    ts_ns: int
    """Time of the newest event that the model saw, Unix nanoseconds (of a backtest: simulated)."""
    predicted: str
    """Predicted class: ``BUY``, ``SELL`` or ``HOLD``; of price models ``UP`` or ``DOWN``."""
    actual: str
    """Class of the outcome."""
    markout_bps: float | None
    """The price's move over the horizon in the predicted direction, bps: of trades, or from close to close of bars.
    None where none was predicted."""


@dataclass(frozen=True)
class ClosedTrade(Record):
    """A position from flat to flat, of one version (that of the order which opened it)."""

    instrument_id: str
    opened_ns: int
    closed_ns: int
    pnl: float
    """Realised, after fees, in the currency that the instrument is settled in."""
    return_bps: float
    """Realised return on the value of the position, after fees, bps."""


@dataclass(frozen=True)
class ShadowAnswer(Record):
    """A shadowed challenger's answer to a copy of a request."""

    instrument_id: str
    """Joined by commas where a text is about several."""
    ts_ns: int
    outputs: Mapping[str, float]
    """The challenger's; empty where it failed."""
    baseline_outputs: Mapping[str, float]
    """Outputs of the response that the caller got."""
    latency_ms: float
    """The challenger's, milliseconds."""
    error: str
    """``Kind: message`` of its failure; empty where it answered."""


_LATENCY_STEP = math.log(1.05)
_FEW = 64


def latency_bucket(latency_ms: float) -> int:
    """Return the bucket of 5 % width that a latency falls into; bucket 0 begins at 1 ms."""
    return math.floor(math.log(max(latency_ms, 1e-6)) / _LATENCY_STEP)


def bucket_latency_ms(bucket: int) -> float:
    """Return the upper edge of a bucket in milliseconds: a percentile read from it is never too good."""
    return math.exp((bucket + 1) * _LATENCY_STEP)


def percentile_ms(latencies: Mapping[int, int], share: float) -> float:
    """Return the lowest latency within which this share of the responses came, at the upper edge of its 5 % bucket.

    Parameters
    ----------
    latencies : mapping
        `latency_bucket` -> responses, at least one.
    share : float
        In (0, 1]: 0.99.

    Returns
    -------
    float
        Milliseconds: never less than the nearest-rank percentile itself, and at most 5 % above it.
    """
    rank = math.ceil(share * sum(latencies.values()) - 1e-9)  # 0.99 * 100 is 99.00000000000001 or so
    for bucket in sorted(latencies):
        rank -= latencies[bucket]
        if rank <= 0:
            return bucket_latency_ms(bucket)
    raise ValueError(f"expected at least one latency and a share in (0, 1], got {latencies}, {share}")


def output_bucket(value: float) -> int:
    """Return the bucket that an output falls into: some 0.05 wide around 0, 5 % wide where values are large."""
    return math.floor(math.asinh(value) * 20)


def output_buckets(values: NDArray[np.float32]) -> Counter[int]:
    """Return how many outputs fall into each `output_bucket`."""
    if len(values) > _FEW:  # one at a time is faster up to here
        buckets, counts = np.unique(np.floor(np.arcsinh(values, dtype=np.float64) * 20), return_counts=True)
        return Counter(dict(zip(buckets.astype(int).tolist(), counts.tolist(), strict=True)))
    return Counter(map(output_bucket, values.tolist()))


@dataclass
class CallTotals:
    """Sum of the `CallWindow` of one version, whose fields these are; it does not depend on their order."""

    requests: int = 0
    errors: int = 0
    latency_ms_sum: float = 0.0
    latency_ms_squares: float = 0.0
    latencies: Counter[int] = field(default_factory=Counter)
    outputs: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, window: CallWindow) -> None:
        """Add one window."""
        self.requests += window.requests
        self.errors += window.errors
        self.latency_ms_sum += window.latency_ms_sum
        self.latency_ms_squares += window.latency_ms_squares
        self.latencies.update(window.latencies)
        self.add_outputs(window.outputs)

    def add_outputs(self, outputs: Mapping[str, Mapping[int, int]]) -> None:
        """Add the buckets of outputs."""
        for name, buckets in outputs.items():
            self.outputs.setdefault(name, Counter()).update(buckets)

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed; 0 where none was sent."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass
class _OpenWindow(CallTotals):
    """Calls of one version since a time."""

    since_ns: int = field(default_factory=time.time_ns)


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
        self._windows: dict[tuple[str, str], _OpenWindow] = {}

    def record_response(
        self, split: str, version: str, latency_ns: int, outputs: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Count a request that got a response."""
        latency_ms = latency_ns / 1e6
        buckets = {name: output_buckets(values) for name, values in outputs.items()}
        with self._lock:
            window = self._window(split, version)
            window.requests += 1
            window.latency_ms_sum += latency_ms
            window.latency_ms_squares += latency_ms**2
            window.latencies[latency_bucket(latency_ms)] += 1
            window.add_outputs(buckets)

    def record_failure(self, split: str, version: str) -> None:
        """Count a request that got an error, or no response in time."""
        with self._lock:
            window = self._window(split, version)
            window.requests += 1
            window.errors += 1

    def take(self) -> list[CallWindow]:
        """Return the counts since the last call, and reset them."""
        with self._lock:
            windows, self._windows = self._windows, {}
        return [
            CallWindow(
                split,
                self._model,
                version,
                self._router,
                window.since_ns,
                window.requests,
                window.errors,
                window.latency_ms_sum,
                window.latency_ms_squares,
                dict(window.latencies),
                {name: dict(buckets) for name, buckets in window.outputs.items()},
            )
            for (split, version), window in windows.items()
        ]

    def put_back(self, windows: Iterable[CallWindow]) -> None:
        """Restore windows that could not be stored: they add up, so that nothing grows in an outage."""
        with self._lock:
            for window in windows:
                restored = self._window(window.split, window.version)
                restored.since_ns = min(restored.since_ns, window.since_ns)
                restored.add(window)

    def _window(self, split: str, version: str) -> _OpenWindow:
        return self._windows.setdefault((split, version), _OpenWindow())
