"""Circuit breaker: a server that keeps failing gets no requests but probes, until it works again."""

from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    """State of a breaker, by what it lets through."""

    CLOSED = "closed"
    """Requests."""
    OPEN = "open"
    """Probes only, when they are due."""
    HALF_OPEN = "half_open"
    """Requests, the first of which shows whether the server works."""


class Breaker:
    """Circuit breaker of one server; not safe to use from several threads. Begins open, with a probe due at once.

    A success resets the counts and the time between probes. Outcomes of requests that were sent before the breaker
    opened have no effect: only a probe leads out of OPEN.

    Parameters
    ----------
    failures_to_open : int
        Failures in a row after which it opens.
    refusals_to_open : int
        Refusals in a row, failures between them or not, after which it opens: a server that refuses every request
        does not work.
    probe_after_ns : int
        Time until the first probe (nanoseconds); doubles with each one that fails.
    max_probe_after_ns : int
        Longest time between two probes (nanoseconds).
    now_ns : callable
        A monotonic clock.
    """

    def __init__(
        self,
        failures_to_open: int,
        probe_after_ns: int,
        max_probe_after_ns: int,
        now_ns: Callable[[], int],
        refusals_to_open: int = 20,
    ) -> None:
        self.state = BreakerState.OPEN
        self._failures_to_open, self._refusals_to_open = failures_to_open, refusals_to_open
        self._first_after_ns, self._max_after_ns = probe_after_ns, max_probe_after_ns
        self._now_ns = now_ns
        self._failures = self._refusals = 0
        self._after_ns = probe_after_ns
        """From the next opening, or failed probe, to the probe after it."""
        self._probe_at_ns = now_ns()

    @property
    def lets_through(self) -> bool:
        """Whether requests may be sent."""
        return self.state is not BreakerState.OPEN

    @property
    def probe_in_ns(self) -> int | None:
        """Time until a probe is due (nanoseconds, 0 where it is due); None where none will be."""
        return None if self.lets_through else max(0, self._probe_at_ns - self._now_ns())

    def succeeded(self) -> None:
        """Record that a request was answered."""
        if self.lets_through:
            self.state = BreakerState.CLOSED
            self._failures, self._refusals, self._after_ns = 0, 0, self._first_after_ns

    def failed(self) -> None:
        """Record that a request failed by the server's fault."""
        if not self.lets_through:
            return
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._failures_to_open:
            self.trip()

    def refused(self) -> None:
        """Record that a request was refused for its content, or failed for a reason that may not be the server's."""
        if not self.lets_through:
            return
        self._refusals += 1
        if self._refusals >= self._refusals_to_open:
            self.trip()

    def trip(self) -> None:
        """Open at once: every other request will fail, too."""
        if self.lets_through:
            self.state = BreakerState.OPEN
            self._failures = self._refusals = 0
            self._put_probe_off()

    def probed(self, is_well: bool) -> None:
        """Record the result of a probe; it has no effect where none was due."""
        if self.lets_through:
            return
        if is_well:
            self.state = BreakerState.HALF_OPEN
        else:
            self._put_probe_off()

    def _put_probe_off(self) -> None:
        self._probe_at_ns = self._now_ns() + self._after_ns
        self._after_ns = min(2 * self._after_ns, self._max_after_ns)
