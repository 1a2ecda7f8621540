"""The thread that asks in a live run: one request in flight, and the next one takes all that queued meanwhile."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.live_failover import EndpointPool
from nautilus_torchserve.trading.inference.live_server import Endpoint, in_words
from nautilus_torchserve.trading.inference.messages import PredictionRequest, RequestOutcome
from nautilus_torchserve.trading.isolate_errors import HasErrorCount, log_errors
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError, is_refusal


class PendingRequest(NamedTuple):
    """A question that has not been sent."""

    question: PredictionRequest
    held: bool
    """Whether a position or an order was open when it was put."""


class CompletedRequest(NamedTuple):
    """Questions that ended together, as far as the thread that asks can tell."""

    questions: tuple[PredictionRequest, ...]
    fate: RequestOutcome
    """ANSWERED also where it may be late by the time the event loop hears of it."""
    error: str = ""
    """``Kind: words``."""
    url: str = ""
    """Of the server that was asked; empty where none was."""
    split: str = ""
    sent_ns: int = 0
    latency_ns: int = 0
    answer: PredictionResponse | None = None


class Asker:
    """Asks about what is put, newest first, in a thread of its own, which runs until `end` is called.

    Parameters
    ----------
    config : ModelActorConfig
    failover : Failover
        The servers.
    now_ns : callable
        The node's clock.
    ended : callable
        Told what ended, from the thread; what failed by an error of our own may have been told before.
    owner : Counting
        Who counts and logs errors of our own.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        failover: EndpointPool,
        now_ns: Callable[[], int],
        ended: Callable[[CompletedRequest], None],
        owner: HasErrorCount,
    ) -> None:
        self._live, self._failover, self._now_ns, self._tell, self._owner = config.live, failover, now_ns, ended, owner
        self._ready = threading.Condition()
        self._waiting: deque[PendingRequest] = deque()
        self._is_over = False
        self.thread = threading.Thread(target=self._work, name=f"ask-{config.model}")
        """To be started by its owner."""

    @property
    def has_taken_all(self) -> bool:
        """Whether nothing waits to be asked."""
        return not self._waiting

    def put(self, waiting: PendingRequest) -> PredictionRequest | None:
        """Queue a question; returns at once, with the one that had to go for it, where there are too many."""
        oldest = None
        with self._ready:
            if len(self._waiting) == self._live.max_rows:
                oldest = self._waiting.popleft().question
            self._waiting.append(waiting)
            self._ready.notify()
        return oldest

    def end(self) -> None:
        """Let the thread end with the request that is in flight."""
        with self._ready:
            self._is_over = True
            self._ready.notify()

    def _work(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._is_over)
                if self._is_over:
                    return
                batch = list(reversed(self._waiting))  # newest first
                self._waiting.clear()
            done = False
            with log_errors(self._owner, "asking"):
                self._ask(batch)
                done = True
            if not done:
                why = "Bug: an error of our own while asking; the log has its traceback"
                self._tell(CompletedRequest(tuple(each.question for each in batch), RequestOutcome.FAILED, why))

    def _ask(self, batch: list[PendingRequest]) -> None:
        """Ask about all that can still be answered in time, one request for each route."""
        batch = self._still_in_time(batch)
        server = self._failover.pick()
        if server is None or server.routes is None:
            self._fail_unsent(batch)
            return
        together: dict[Route, list[PendingRequest]] = {}
        for each in batch:
            question = each.question
            route = server.routes.route(question.instrument_id.value, question.ts_event, each.held)
            together.setdefault(route, []).append(each)
        for route, waiting in together.items():
            self._ask_together(server, route, waiting)

    def _ask_together(self, server: Endpoint, route: Route, waiting: list[PendingRequest]) -> None:
        """One request; where one of its questions may be to blame for its failure, one for each, once."""
        waiting = self._still_in_time(waiting)
        if not waiting:
            return
        if not server.lets_through:  # since a moment ago
            self._fail_unsent(waiting)
            return
        questions = tuple(each.question for each in waiting)
        deadline_ns = max(map(self._deadline, questions))
        sent_ns, began = self._now_ns(), time.perf_counter_ns()
        try:
            about = [(each.instrument_id.value,) for each in questions]
            ts_ns = max(each.ts_event for each in questions)
            answer = server.ask(route, np.stack([each.asked for each in questions]), about, ts_ns, deadline_ns)
        except RequestError as error:
            took_ns = time.perf_counter_ns() - began
            server.failed(error, route)
            if len(waiting) > 1 and isinstance(error, PER_ROW_ERRORS):
                for each in waiting:
                    self._ask_together(server, route, [each])
                return
            fate = RequestOutcome.REFUSED if is_refusal(error) else RequestOutcome.FAILED
            self._tell(CompletedRequest(questions, fate, in_words(error), server.url, route.split, sent_ns, took_ns))
        else:
            server.answered(in_time=self._now_ns() <= deadline_ns)
            latency_ns = answer.latency_ns
            self._tell(
                CompletedRequest(
                    questions, RequestOutcome.ANSWERED, "", server.url, route.split, sent_ns, latency_ns, answer
                )
            )

    def _deadline(self, question: PredictionRequest) -> int:
        return question.ts_init + self._live.deadline_ns

    def _still_in_time(self, waiting: list[PendingRequest]) -> list[PendingRequest]:
        """Those whose deadline has not passed; the others expire."""
        now_ns = self._now_ns()
        late = tuple(each.question for each in waiting if self._deadline(each.question) < now_ns)
        if late:
            self._tell(
                CompletedRequest(late, RequestOutcome.EXPIRED, "DeadlinePassed: before the request could be sent")
            )
        return [each for each in waiting if self._deadline(each.question) >= now_ns]

    def _fail_unsent(self, waiting: list[PendingRequest]) -> None:
        if waiting:
            questions = tuple(each.question for each in waiting)
            self._tell(CompletedRequest(questions, RequestOutcome.FAILED, f"Unavailable: {self._failover.why_not}"))
