"""Detection of a lost model: failures since the last response, and the state of each server."""

from dataclasses import dataclass

from nautilus_torchserve.trading.inference.endpoint import SLOW
from nautilus_torchserve.trading.inference.messages import STOPPED, InferenceCall, ModelHealth, RequestOutcome

_MAX_REASON = 200


@dataclass(frozen=True)
class ModelOutage:
    """A model that a run has lost."""

    since_ns: int
    """Time at which the first request after the last response failed, Unix ns."""
    failed: int
    """Predictions that failed since then."""
    why: str
    """Reason why no server is used; at most 200 characters a server."""


class ModelWatch:
    """Follows a model's calls and its servers' health.

    Parameters
    ----------
    max_failures : int
        Failed predictions in a row after which the model counts as lost although a server may still be used.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._has_answered = False
        self._failed = 0
        self._since_ns = 0
        self._error = ""
        self._servers: dict[str, ModelHealth] = {}

    def on_call(self, call: InferenceCall) -> None:
        """Take a call into account."""
        if {RequestOutcome.ANSWERED, RequestOutcome.LATE, RequestOutcome.REFUSED} & set(call.outcomes):
            self._has_answered, self._failed, self._since_ns = True, 0, 0
            return
        failed = 0 if call.error == STOPPED else call.outcomes.count(RequestOutcome.FAILED)
        if failed:
            self._since_ns = self._since_ns or call.ended_ns
            self._failed += failed
            self._error = call.error

    def on_health(self, health: ModelHealth) -> None:
        """Take a change of a server's health into account."""
        self._servers[health.url] = health

    @property
    def outage(self) -> ModelOutage | None:
        """The model as lost, None while the run has it.

        It is lost when no server may be used, and when predictions only fail; not by responses that come too late from
        a server that works.
        """
        unusable = [
            server for server in self._servers.values() if server.state == "open" and not server.why.startswith(SLOW)
        ]
        is_unreachable = bool(unusable) and len(unusable) == len(self._servers)
        only_fails = self._failed >= (self._max_failures if self._has_answered else 1)
        if not is_unreachable and not only_fails:
            return None
        since_ns = self._since_ns or max(server.ts_ns for server in unusable)
        why = "; ".join(f"{server.url}: {server.why[:_MAX_REASON]}" for server in unusable) or self._error[:_MAX_REASON]
        return ModelOutage(since_ns, self._failed, why)
