"""A model's questions in a live run: asked beside the event loop, answered on it, or not at all once they are late."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from nautilus_trader.common.component import Logger
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from features.schema import FeatureSchema
from serving.client import Answer
from serving.inputs import Inputs
from strategies.guarded import guard
from strategies.live_failover import Failover
from strategies.live_server import LiveServer, in_words
from strategies.model_actor_config import ModelActorConfig
from strategies.model_call import Fate, ModelCall, ModelHealth, Question
from traffic.assignment import Route
from wire.errors import BadText, BadWindow, NotFinite, OutputNotFinite, RequestError
from wire.news_windows import NewsWindow

OF_ONE_ROW = (BadText, BadWindow, NotFinite, OutputNotFinite)
"""Errors that one row of a request can bring upon the others: after these each is asked about alone, once."""
OUR_OWN = "Bug: an error of our own while asking; the log has its traceback"


class Waiting(NamedTuple):
    """A question that has not been sent."""

    question: Question
    held: bool
    """Whether a position or an order was open when it was put."""


class LiveCalls:
    """One model's questions in a live run: asked off the event loop, one request in flight.

    What is put while a request is in flight goes into the next one. A question ends in exactly one `ModelCall`:
    ANSWERED by its deadline, or LATE, EXPIRED or FAILED. While no server may be asked questions fail at once, so that
    none waits to be asked when it is of no use any more.

    Two threads do what blocks: one asks, one connects, probes and keeps tokens fresh (`Failover`). All callables given
    are called on the event loop, but ``fits`` and ``now_ns``, which are called by both threads.

    Parameters
    ----------
    config : ModelActorConfig
    schema : FeatureSchema
        The features that are asked about.
    fits : callable
        Given a version's metadata, raises `RequestError` where the caller cannot ask it.
    loop : AbstractEventLoop
        Where answers are delivered.
    now_ns : callable
        The node's clock, Unix ns: the one by which questions' ``ts_init`` was taken.
    held : callable
        Whether a position or an order on an instrument is open: then it stays with the version it is with.
    deliver : callable
        Given each call that has ended and the name of the traffic split that it was a part of.
    changed : callable
        Given each change of a server's health: also the first connection, and each version seen first.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        schema: FeatureSchema,
        fits: Callable[[Mapping[str, Any]], None],
        *,
        loop: asyncio.AbstractEventLoop,
        now_ns: Callable[[], int],
        held: Callable[[InstrumentId], bool],
        deliver: Callable[[ModelCall, str], None],
        changed: Callable[[ModelHealth], None],
    ) -> None:
        self.log = Logger(f"live-{config.model}")
        self.handler_errors = 0
        """Exceptions in what was given, and errors of our own."""
        self._model, self._live = config.model, config.live
        self._loop, self._now_ns, self._held = loop, now_ns, held
        self._deliver, self._changed = deliver, changed
        self._unended: dict[int, Question] = {}  # id -> question; of the loop alone
        self._dropped: list[tuple[Question, Fate, str]] = []  # of the loop alone
        self._closed = False
        self._ready = threading.Condition()
        self._waiting: deque[Waiting] = deque()
        self._failover = Failover(config, schema, fits, self._tell, now_ns)
        self._asker = threading.Thread(target=self._work, name=f"ask-{config.model}")
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{config.model}")
        self._asker.start()
        self._watcher.start()

    @property
    def is_up(self) -> bool:
        """Whether any server may be asked."""
        return self._failover.is_up

    def put(self, question: Question) -> None:
        """Ask as soon as no request is in flight; to be called on the event loop, returns at once."""
        if self._closed:
            return
        waiting = Waiting(question, self._held(question.instrument_id))
        self._unended[id(question)] = question
        if not self._failover.is_up:
            self._drop(question, Fate.FAILED, f"Unavailable: {self._failover.why_not}")
            return
        oldest = None
        with self._ready:
            if len(self._waiting) == self._live.max_rows:
                oldest = self._waiting.popleft()
            self._waiting.append(waiting)
            self._ready.notify()
        if oldest is not None:
            self._drop(oldest.question, Fate.EXPIRED, f"DeadlinePassed: {self._live.max_rows} newer ones wait")

    def leaving(self, instrument_id: InstrumentId, ts_event: int) -> bool:
        """Whether an instrument is to change version as soon as it has no position."""
        server = self._failover.in_use
        return server is not None and server.routes is not None and server.routes.leaving(instrument_id.value, ts_event)

    def close(self) -> None:
        """Ask no more; to be called on the event loop. Questions that have not ended are delivered as FAILED.

        Nothing is delivered afterwards. The threads end by themselves, with the request that is in flight.
        """
        if self._closed:
            return
        self._closed = True
        with self._ready:
            self._ready.notify()
        self._failover.end()
        left = tuple(reversed(self._unended.values()))
        self._unended.clear()
        if left:
            with guard(self, "delivering what was left"):
                self._deliver(self._unsent(left, Fate.FAILED, "Stopped: the run ended before the answer"), "")

    # On the event loop

    def _drop(self, question: Question, fate: Fate, why: str) -> None:
        """End a question that was not sent; delivered by the loop's next turn, outside the handler that put it."""
        if not self._dropped:
            self._loop.call_soon(self._deliver_dropped)
        self._dropped.append((question, fate, why))

    def _deliver_dropped(self) -> None:
        dropped, self._dropped = self._dropped, []
        for (fate, why) in dict.fromkeys((fate, why) for _, fate, why in dropped):
            questions = tuple(each for each, *said in reversed(dropped) if said == [fate, why])
            self._end(self._unsent(questions, fate, why), "")

    def _end(self, call: ModelCall, split: str) -> None:
        if self._closed:
            return
        for question in call.questions:
            del self._unended[id(question)]
        with guard(self, "delivering an answer"):
            self._deliver(call, split)

    def _end_answered(
        self, url: str, sent_ns: int, route: Route, questions: tuple[Question, ...], said: Answer
    ) -> None:
        ended_ns = self._now_ns()
        fates = tuple(Fate.ANSWERED if self._deadline(each) >= ended_ns else Fate.LATE for each in questions)
        late = "DeadlinePassed: answered after the deadline" if Fate.LATE in fates else ""
        self._end(
            ModelCall(
                self._model, url, said.version, said.digest, sent_ns, ended_ns, said.latency_ns, late, questions, fates,
                said.outputs,
            ),
            route.split,
        )

    def _end_failed(
        self, url: str, sent_ns: int, latency_ns: int, route: Route, questions: tuple[Question, ...], why: str
    ) -> None:
        fates = (Fate.FAILED,) * len(questions)
        self._end(
            ModelCall(self._model, url, "", "", sent_ns, self._now_ns(), latency_ns, why, questions, fates, {}),
            route.split,
        )

    def _end_unsent(self, questions: tuple[Question, ...], fate: Fate, why: str) -> None:
        self._end(self._unsent(questions, fate, why), "")

    def _end_rest(self, questions: Sequence[Question]) -> None:
        left = tuple(each for each in questions if id(each) in self._unended)
        if left:
            self._end_unsent(left, Fate.FAILED, OUR_OWN)

    def _unsent(self, questions: tuple[Question, ...], fate: Fate, why: str) -> ModelCall:
        fates = (fate,) * len(questions)
        return ModelCall(self._model, "", "", "", 0, self._now_ns(), 0, why, questions, fates, {})

    def _tell_here(self, health: ModelHealth) -> None:
        if not self._closed:
            with guard(self, "telling health"):
                self._changed(health)

    # In the threads

    def _tell(self, health: ModelHealth) -> None:
        self._post(self._tell_here, health)

    def _post(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _deadline(self, question: Question) -> int:
        return question.ts_init + self._live.deadline_ns

    def _watch(self) -> None:
        self._failover.watch()
        self._asker.join()
        self._failover.close()

    def _work(self) -> None:
        while not self._closed:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._closed)
                batch = list(self._waiting)
                self._waiting.clear()
            batch.reverse()  # newest first
            done = False
            with guard(self, "asking"):
                self._ask(batch)
                done = True
            if not done:
                self._post(self._end_rest, [each.question for each in batch])

    def _ask(self, batch: list[Waiting]) -> None:
        """Ask about all that can still be answered in time, one request for each route."""
        batch = self._still_in_time(batch)
        server = self._failover.pick()
        if server is None:
            self._fail_unsent(batch)
            return
        assert server.routes is not None
        together: dict[Route, list[Waiting]] = {}
        for each in batch:
            question = each.question
            route = server.routes.route(question.instrument_id.value, question.ts_event, each.held)
            together.setdefault(route, []).append(each)
        for route, waiting in together.items():
            self._ask_together(server, route, waiting)

    def _ask_together(self, server: LiveServer, route: Route, waiting: list[Waiting]) -> None:
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
            answer = server.ask(route, _inputs(questions), about, ts_ns, deadline_ns)
        except RequestError as error:
            took_ns = time.perf_counter_ns() - began
            server.failed(error, route)
            if len(waiting) > 1 and isinstance(error, OF_ONE_ROW):
                for each in waiting:
                    self._ask_together(server, route, [each])
                return
            self._post(self._end_failed, server.url, sent_ns, took_ns, route, questions, in_words(error))
        else:
            server.answered(in_time=self._now_ns() <= deadline_ns)
            self._post(self._end_answered, server.url, sent_ns, route, questions, answer)

    def _still_in_time(self, waiting: list[Waiting]) -> list[Waiting]:
        """Those whose deadline has not passed; the others expire."""
        now_ns = self._now_ns()
        late = tuple(each.question for each in waiting if self._deadline(each.question) < now_ns)
        if late:
            self._post(self._end_unsent, late, Fate.EXPIRED, "DeadlinePassed: before the request could be sent")
        return [each for each in waiting if self._deadline(each.question) >= now_ns]

    def _fail_unsent(self, waiting: list[Waiting]) -> None:
        if waiting:
            questions = tuple(each.question for each in waiting)
            self._post(self._end_unsent, questions, Fate.FAILED, f"Unavailable: {self._failover.why_not}")


def _inputs(questions: Sequence[Question]) -> Inputs:
    rows: list[NDArray[np.float32]] = []
    windows: list[NewsWindow] = []
    for each in questions:
        if isinstance(each.asked, NewsWindow):
            windows.append(each.asked)
        else:
            rows.append(each.asked)
    return windows or np.stack(rows)
