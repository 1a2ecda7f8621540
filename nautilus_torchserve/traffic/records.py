"""What is kept of the traffic: calls in windows, scored predictions, closed trades, a challenger's shadow answers."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CallWindow:
    """What one router saw of one version in a short stretch of time. Windows add up."""

    split: str
    """Name of the split that was running; empty without one."""
    model: str
    version: str
    router: str
    """Who asked."""
    since_ns: int
    """Begin of the window, Unix nanoseconds of the wall clock."""
    requests: int
    """Requests sent; those that failed are among them."""
    errors: int
    """Requests that got an error or no answer in time."""
    latency_ms_sum: float
    """Over the answered requests, milliseconds."""
    latency_ms_squares: float
    """Sum of squares over the answered requests, ms^2."""
    latencies: Mapping[int, int] = field(default_factory=dict)
    """`latency_bucket` -> answered requests."""
    outputs: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Output -> `output_bucket` -> rows answered."""


@dataclass(frozen=True)
class ScoredPrediction:
    """A prediction whose outcome is known. Of one instrument the horizons of two of them do not overlap."""

    split: str
    model: str
    version: str
    instrument_id: str
    ts_ns: int
    """When the newest event that the model saw happened, Unix nanoseconds (of a backtest: simulated)."""
    predicted: str
    """Class said: ``BUY``, ``SELL`` or ``HOLD``; of price models ``UP`` or ``DOWN``."""
    actual: str
    """Class that came true."""
    markout_bps: float | None
    """The price's move over the horizon in the direction said, bps: of trades, or from close to close of bars. None
    where no direction was said."""


@dataclass(frozen=True)
class ClosedTrade:
    """A position from flat to flat, on the word of one version (that of the order which opened it)."""

    split: str
    model: str
    version: str
    instrument_id: str
    opened_ns: int
    closed_ns: int
    pnl: float
    """Realised, after fees, in the currency that the instrument is settled in."""
    return_bps: float
    """Realised return on what was put in, after fees, bps."""


@dataclass(frozen=True)
class ShadowAnswer:
    """What a shadowed challenger said to a copy of a request."""

    split: str
    model: str
    version: str
    instrument_id: str
    """Several, where a text is about them, are joined by commas."""
    ts_ns: int
    outputs: Mapping[str, float]
    """The challenger's; empty where it failed."""
    baseline_outputs: Mapping[str, float]
    """What the caller got."""
    latency_ms: float
    """The challenger's, milliseconds."""
    error: str
    """Why it failed; empty where it answered."""


_LATENCY_STEP = math.log(1.05)
_FEW = 64


def latency_bucket(latency_ms: float) -> int:
    """Which bucket of 5 % width a latency falls into; bucket 0 begins at 1 ms."""
    return math.floor(math.log(max(latency_ms, 1e-6)) / _LATENCY_STEP)


def bucket_latency_ms(bucket: int) -> float:
    """Upper edge of a bucket, milliseconds: a percentile read from it is never too good."""
    return math.exp((bucket + 1) * _LATENCY_STEP)


def output_bucket(value: float) -> int:
    """Which bucket an output falls into: some 0.05 wide around 0, 5 % wide where values are large."""
    return math.floor(math.asinh(value) * 20)


def output_buckets(values: NDArray[np.float32]) -> Counter[int]:
    """How many of some outputs fall into each `output_bucket`."""
    if len(values) > _FEW:  # one at a time is faster up to here
        buckets, counts = np.unique(np.floor(np.arcsinh(values, dtype=np.float64) * 20), return_counts=True)
        return Counter(dict(zip(buckets.astype(int).tolist(), counts.tolist(), strict=True)))
    return Counter(map(output_bucket, values.tolist()))
