"""What a new version is held to before and after it becomes the default one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one rollout; the latencies are those of our own requests, over the port, as a client sees them."""

    ready_within_s: float = 120.0
    """How long its workers may take to load, seconds."""
    latency_requests: int = 200
    """Requests to each version, in turns, to compare their latencies; 0: not compared."""
    latency_ratio: float = 1.5
    """Its median and its 95th percentile may be this many times those of the serving version, and ..."""
    latency_add_ms: float = 2.0
    """... this much more, milliseconds."""
    latency_most_ms: float | None = None
    """Most that its 95th percentile may be, milliseconds; the only latency limit of a model's first version."""
    watch_s: float = 10.0
    """How long errors and latency are watched once it is the default version, seconds; 0: not at all."""
    errors_allowed: int = 0
    """Answers 5xx of the whole server while watching, beyond what came at this rate before."""
    drain_s: float | None = None
    """How long a version must have been asked nothing before it is unregistered, seconds. None: its response
    timeout, since TorchServe does not show running requests and ends them only then."""
    keep: int = 1
    """Earlier default versions that stay loaded, for a rollback in milliseconds."""

    def latency_allowed_ms(self, serving_ms: float) -> float:
        """What a percentile may be, given the serving version's."""
        return serving_ms * self.latency_ratio + self.latency_add_ms
