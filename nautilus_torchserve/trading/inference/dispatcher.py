"""Sends the requests of a live run in threads beside the event loop, and returns their outcomes to it."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from nautilus_trader.common.component import Logger
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.endpoint import Endpoint, EndpointPool, error_text
from nautilus_torchserve.trading.inference.messages import (
    STOPPED,
    InferenceCall,
    ModelHealth,
    PredictionRequest,
    RequestOutcome,
)
from nautilus_torchserve.trading.isolate_errors import HasErrorCount, log_errors
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.traffic.versions import CheckMetadata
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError, is_refusal


class PendingRequest(NamedTuple):
    """A request that has not been sent."""

    request: PredictionRequest
    has_exposure: bool
    """Whether a position or an order was open when it was submitted."""


class CompletedRequest(NamedTuple):
    """Requests that ended together, as far as the sending thread can tell."""

    requests: tuple[PredictionRequest, ...]
    outcome: RequestOutcome
    """ANSWERED also where it may be late by the time the event loop gets it."""
    error: str = ""
    """``Kind: message``."""
    url: str = ""
    """The server's; empty where nothing was sent."""
    split: str = ""
    sent_ns: int = 0
    latency_ns: int = 0
    response: PredictionResponse | None = None


class InferenceDispatcher:
    """The requests of one model in a live run, sent off the event loop, one call in flight.

    Requests submitted while a call is in flight go into the next one. A request ends in exactly one `InferenceCall`:
    ANSWERED by its deadline, or LATE, EXPIRED, REFUSED or FAILED. While no server is available requests fail at once,
    so that none is queued past its use.

    Two threads do what blocks: one sends requests, one connects, probes and renews tokens (`EndpointPool`). The
    callables are called on the event loop, except ``check_metadata`` and ``now_ns``, which both threads call.

    Parameters
    ----------
    config : ModelActorConfig
    schema : FeatureSchema
        The features of the requests.
    check_metadata : callable, optional
        Raises `RequestError` where the caller cannot use a version with this metadata.
    loop : AbstractEventLoop
        Where calls are delivered.
    now_ns : callable
        The node's clock, Unix ns: the one of the requests' ``ts_init``.
    has_exposure : callable
        Returns whether a position or an order on an instrument is open: then it stays with its version.
    deliver : callable
        Called with each completed call and the name of the traffic split that it belongs to.
    on_health : callable
        Called with each change of a server's health: also the first connection, and each new version.
    owner : HasErrorCount, optional
        Counts and logs exceptions in the callables, and internal errors; default: itself.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        schema: FeatureSchema,
        check_metadata: CheckMetadata | None,
        *,
        loop: asyncio.AbstractEventLoop,
        now_ns: Callable[[], int],
        has_exposure: Callable[[InstrumentId], bool],
        deliver: Callable[[InferenceCall, str], None],
        on_health: Callable[[ModelHealth], None],
        owner: HasErrorCount | None = None,
    ) -> None:
        self.log = Logger(f"live-{config.model}")
        self.handler_errors = 0
        """Exceptions in the callables, and internal errors; 0 where another owner counts them."""
        self._owner: HasErrorCount = owner or self
        self._model, self._live = config.model, config.live
        self._loop, self._now_ns, self._has_exposure = loop, now_ns, has_exposure
        self._deliver, self._on_health = deliver, on_health
        self._open: dict[int, PredictionRequest] = {}  # id -> request that has not ended
        self._unsent: list[tuple[PredictionRequest, RequestOutcome, str]] = []
        self._closed = False
        self._ready = threading.Condition()
        self._queue: deque[PendingRequest] = deque()
        self._stopped = False
        self._pool = EndpointPool(
            config, schema, check_metadata, lambda health: self._post(self._report_health, health), now_ns, self._owner
        )
        self._sender = threading.Thread(target=self._send_until_stopped, name=f"send-{config.model}")
        self._sender.start()
        threading.Thread(target=self._watch, name=f"watch-{config.model}").start()

    @property
    def is_available(self) -> bool:
        """Whether any server gets requests."""
        return self._pool.is_available

    @property
    def is_idle(self) -> bool:
        """Whether no request is queued for the next call."""
        return not self._queue

    def submit(self, request: PredictionRequest) -> None:
        """Send a request as soon as no call is in flight; to be called on the event loop, returns at once."""
        if self._closed:
            return
        pending = PendingRequest(request, self._has_exposure(request.instrument_id))
        self._open[id(request)] = request
        if not self._pool.is_available:
            self._end_unsent(request, RequestOutcome.FAILED, f"Unavailable: {self._pool.why}")
            return
        oldest = None
        with self._ready:
            if len(self._queue) == self._live.max_rows:
                oldest = self._queue.popleft().request
            self._queue.append(pending)
            self._ready.notify()
        if oldest is not None:
            self._end_unsent(
                oldest, RequestOutcome.EXPIRED, f"DeadlinePassed: {self._live.max_rows} newer ones are queued"
            )

    def pending_version_change(self, instrument_id: InstrumentId, ts_event: int) -> bool:
        """Return whether an instrument changes version as soon as it has no position."""
        return self._pool.pending_version_change(instrument_id.value, ts_event)

    def close(self) -> None:
        """Stop; to be called on the event loop. Requests that have not ended are delivered as FAILED.

        Nothing is delivered afterwards. The threads end by themselves, after the call in flight.
        """
        if self._closed:
            return
        self._complete(CompletedRequest(tuple(reversed(self._open.values())), RequestOutcome.FAILED, STOPPED))
        self._closed = True
        self._pool.stop()

    def _end_unsent(self, request: PredictionRequest, outcome: RequestOutcome, error: str) -> None:
        """End a request that was not sent; delivered in the loop's next turn, outside the handler that submitted it."""
        if not self._unsent:
            self._loop.call_soon(self._complete_unsent)
        self._unsent.append((request, outcome, error))

    def _complete_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        for key in dict.fromkeys((outcome, error) for _, outcome, error in unsent):
            requests = tuple(request for request, *ending in reversed(unsent) if tuple(ending) == key)
            self._complete(CompletedRequest(requests, *key))

    def _complete(self, completed: CompletedRequest) -> None:
        """Deliver the requests that have not been delivered before."""
        if self._closed:
            return
        if completed.response is None:
            completed = completed._replace(
                requests=tuple(request for request in completed.requests if id(request) in self._open)
            )
        if not completed.requests:
            return
        for request in completed.requests:
            del self._open[id(request)]
        with log_errors(self._owner, "delivering a call"):
            self._deliver(self._call(completed), completed.split)

    def _call(self, completed: CompletedRequest) -> InferenceCall:
        """Return the call as of now: responses may be late by the time that they arrive here."""
        now_ns, response = self._now_ns(), completed.response
        outcomes, error = [completed.outcome] * len(completed.requests), completed.error
        if response is not None:
            last_ns = now_ns - self._live.deadline_ns
            outcomes = [
                RequestOutcome.ANSWERED if request.ts_init >= last_ns else RequestOutcome.LATE
                for request in completed.requests
            ]
            error = "DeadlinePassed: answered after the deadline" if RequestOutcome.LATE in outcomes else ""
        return InferenceCall(
            self._model,
            completed.url,
            "" if response is None else response.version,
            "" if response is None else response.digest,
            completed.sent_ns,
            now_ns,
            completed.latency_ns,
            error,
            completed.requests,
            tuple(outcomes),
            {} if response is None else response.outputs,
        )

    def _report_health(self, health: ModelHealth) -> None:
        if not self._closed:
            with log_errors(self._owner, "reporting health"):
                self._on_health(health)

    # The rest runs in threads.

    def _post(self, handler: Callable[[Any], None], message: CompletedRequest | ModelHealth) -> None:
        if not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(handler, message)

    def _end(self, completed: CompletedRequest) -> None:
        """Post requests that have ended; an internal error may end some a second time, which `_complete` ignores."""
        self._post(self._complete, completed)

    def _watch(self) -> None:
        self._pool.watch()
        with self._ready:
            self._stopped = True
            self._ready.notify()
        self._sender.join()
        self._pool.close()

    def _send_until_stopped(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._stopped)
                if self._stopped:
                    return
                batch = list(reversed(self._queue))  # newest first
                self._queue.clear()
            is_done = False
            with log_errors(self._owner, "sending requests"):
                self._send_batch(batch)
                is_done = True
            if not is_done:
                error = "Bug: an internal error while sending; the log has its traceback"
                requests = tuple(pending.request for pending in batch)
                self._end(CompletedRequest(requests, RequestOutcome.FAILED, error))

    def _send_batch(self, batch: list[PendingRequest]) -> None:
        """Send the requests that can still be in time, one call for each route."""
        exposed = {id(pending.request): pending.has_exposure for pending in batch}
        requests = self._unexpired([pending.request for pending in batch])
        endpoint = self._pool.select()
        if endpoint is None or endpoint.routes is None:
            self._fail(requests)
            return
        routes: dict[Route, list[PredictionRequest]] = {}
        for request in requests:
            route = endpoint.routes.route(request.instrument_id.value, request.ts_event, exposed[id(request)])
            routes.setdefault(route, []).append(request)
        for route, together in routes.items():
            most = endpoint.routes.metadata.max_rows or len(together)
            for start in range(0, len(together), most):
                self._send(endpoint, route, together[start : start + most])

    def _send(self, endpoint: Endpoint, route: Route, requests: list[PredictionRequest]) -> None:
        """Send one call; where one of its rows may be to blame for its failure, one for each row, once."""
        requests = self._unexpired(requests)
        if not requests:
            return
        if not endpoint.is_available:  # since a moment ago
            self._fail(requests)
            return
        deadline_ns = max(map(self._deadline, requests))
        subjects = [(request.instrument_id.value,) for request in requests]
        ts_ns = max(request.ts_event for request in requests)
        sent_ns, start_ns = self._now_ns(), time.perf_counter_ns()
        try:
            rows = np.stack([request.features for request in requests])
            response = endpoint.send(route, rows, subjects, ts_ns, deadline_ns)
        except RequestError as error:
            elapsed_ns = time.perf_counter_ns() - start_ns
            endpoint.record_failure(error, route)
            if len(requests) > 1 and isinstance(error, PER_ROW_ERRORS):
                for request in requests:
                    self._send(endpoint, route, [request])
                return
            outcome = RequestOutcome.REFUSED if is_refusal(error) else RequestOutcome.FAILED
            call = endpoint.url, route.split, sent_ns, elapsed_ns
            self._end(CompletedRequest(tuple(requests), outcome, error_text(error), *call))
        else:
            endpoint.record_response(in_time=self._now_ns() <= deadline_ns)
            call = endpoint.url, route.split, sent_ns, response.latency_ns
            self._end(CompletedRequest(tuple(requests), RequestOutcome.ANSWERED, "", *call, response))

    def _deadline(self, request: PredictionRequest) -> int:
        return request.ts_init + self._live.deadline_ns

    def _unexpired(self, requests: list[PredictionRequest]) -> list[PredictionRequest]:
        """Return the requests whose deadline has not passed; end the others."""
        now_ns = self._now_ns()
        expired = tuple(request for request in requests if self._deadline(request) < now_ns)
        if expired:
            error = "DeadlinePassed: before the request could be sent"
            self._end(CompletedRequest(expired, RequestOutcome.EXPIRED, error))
        return [request for request in requests if self._deadline(request) >= now_ns]

    def _fail(self, requests: list[PredictionRequest]) -> None:
        if requests:
            self._end(CompletedRequest(tuple(requests), RequestOutcome.FAILED, f"Unavailable: {self._pool.why}"))
