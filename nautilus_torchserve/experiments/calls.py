"""What routers saw of one version, added up."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nautilus_torchserve.traffic.records import CallWindow, bucket_latency_ms


@dataclass
class Calls:
    """The sum of some `CallWindow` of one version."""

    requests: int = 0
    """Sent; those that failed are among them."""
    errors: int = 0
    """Got an error, or no answer in time."""
    latency_ms_sum: float = 0.0
    """Over the answered requests, milliseconds."""
    latencies: Counter[int] = field(default_factory=Counter)
    """`latency_bucket` -> answered requests."""
    outputs: dict[str, Counter[int]] = field(default_factory=dict)
    """Output -> `output_bucket` -> rows answered."""

    def add(self, window: CallWindow) -> None:
        """Take in what one more window saw."""
        self.requests += window.requests
        self.errors += window.errors
        self.latency_ms_sum += window.latency_ms_sum
        self.latencies.update(window.latencies)
        for name, counts in window.outputs.items():
            self.outputs.setdefault(name, Counter()).update(counts)

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed; 0 where none was sent."""
        return self.errors / self.requests if self.requests else 0.0


def add_up(windows: Iterable[CallWindow]) -> Calls:
    """All windows in one; in which order they come makes no difference to any count."""
    calls = Calls()
    for window in windows:
        calls.add(window)
    return calls


def percentile_ms(latencies: Mapping[int, int], share: float) -> float:
    """The least latency within which this share of the answers came, at the upper edge of its 5 % bucket.

    Parameters
    ----------
    latencies : mapping
        `latency_bucket` -> answers, at least one.
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
    raise ValueError(f"latencies: at least one answer and a share in (0, 1] expected, was {latencies}, {share}")
