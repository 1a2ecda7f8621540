"""A model's questions in a live run: asked beside the event loop, answered on it, or not at all once they are late."""

import asyncio
import threading
from collections.abc import Callable

from nautilus_trader.common.component import Logger
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.live_asker import Asker, CompletedRequest, PendingRequest
from nautilus_torchserve.trading.inference.live_failover import EndpointPool
from nautilus_torchserve.trading.inference.messages import (
    STOPPED,
    InferenceCall,
    ModelHealth,
    PredictionRequest,
    RequestOutcome,
)
from nautilus_torchserve.trading.isolate_errors import HasErrorCount, log_errors


class InferenceDispatcher:
    """One model's questions in a live run: asked off the event loop, one request in flight.

    What is put while a request is in flight goes into the next one. A question ends in exactly one `InferenceCall`:
    ANSWERED by its deadline, or LATE, EXPIRED or FAILED. While no server may be asked questions fail at once, so that
    none waits to be asked when it is of no use any more.

    Two threads do what blocks: one asks, one connects, probes and keeps tokens fresh (`EndpointPool`). All callables
    given are called on the event loop, but ``fits`` and ``now_ns``, which are called by both threads.

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
    owner : Counting, optional
        Who counts and logs exceptions in what was given, and errors of our own; left out: itself.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        schema: FeatureSchema,
        fits: Callable[[ModelMetadata], None],
        *,
        loop: asyncio.AbstractEventLoop,
        now_ns: Callable[[], int],
        held: Callable[[InstrumentId], bool],
        deliver: Callable[[InferenceCall, str], None],
        changed: Callable[[ModelHealth], None],
        owner: HasErrorCount | None = None,
    ) -> None:
        self.log = Logger(f"live-{config.model}")
        self.handler_errors = 0
        """Exceptions in what was given, and errors of our own; 0 where another owner counts them."""
        self._owner: HasErrorCount = owner or self
        self._model, self._live = config.model, config.live
        self._loop, self._now_ns, self._held = loop, now_ns, held
        self._deliver, self._changed = deliver, changed
        self._unended: dict[int, PredictionRequest] = {}  # id -> question
        self._dropped: list[tuple[PredictionRequest, RequestOutcome, str]] = []
        self._closed = False
        self._failover = EndpointPool(config, schema, fits, self._hear_health, now_ns, self._owner)
        self._asker = Asker(config, self._failover, now_ns, self._hear_ended, self._owner)
        self._asker.thread.start()
        threading.Thread(target=self._watch, name=f"watch-{config.model}").start()

    @property
    def is_up(self) -> bool:
        """Whether any server may be asked."""
        return self._failover.is_up

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for the request in flight to end."""
        return self._asker.has_taken_all

    def put(self, question: PredictionRequest) -> None:
        """Ask as soon as no request is in flight; to be called on the event loop, returns at once."""
        if self._closed:
            return
        waiting = PendingRequest(question, self._held(question.instrument_id))
        self._unended[id(question)] = question
        if not self._failover.is_up:
            self._drop(question, RequestOutcome.FAILED, f"Unavailable: {self._failover.why_not}")
            return
        oldest = self._asker.put(waiting)
        if oldest is not None:
            self._drop(oldest, RequestOutcome.EXPIRED, f"DeadlinePassed: {self._live.max_rows} newer ones wait")

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
        left = CompletedRequest(tuple(reversed(self._unended.values())), RequestOutcome.FAILED, STOPPED)
        self._end(left)
        self._closed = True
        self._failover.end()

    def _drop(self, question: PredictionRequest, fate: RequestOutcome, why: str) -> None:
        """End a question that was not sent; delivered by the loop's next turn, outside the handler that put it."""
        if not self._dropped:
            self._loop.call_soon(self._end_dropped)
        self._dropped.append((question, fate, why))

    def _end_dropped(self) -> None:
        dropped, self._dropped = self._dropped, []
        for fate, why in dict.fromkeys((fate, why) for _, fate, why in dropped):
            questions = tuple(each for each, *said in reversed(dropped) if said == [fate, why])
            self._end(CompletedRequest(questions, fate, why))

    def _end(self, ended: CompletedRequest) -> None:
        """Deliver what has ended, and has not been delivered before."""
        if self._closed:
            return
        if ended.answer is None:
            ended = ended._replace(questions=tuple(each for each in ended.questions if id(each) in self._unended))
        if not ended.questions:
            return
        for question in ended.questions:
            del self._unended[id(question)]
        with log_errors(self._owner, "delivering an answer"):
            self._deliver(self._called(ended), ended.split)

    def _called(self, ended: CompletedRequest) -> InferenceCall:
        """What ended, as of now: answers may be late by the time that they are known here."""
        now_ns = self._now_ns()
        fates, error = [ended.fate] * len(ended.questions), ended.error
        version, digest, outputs = "", "", {}
        if ended.answer is not None:
            version, digest, outputs = ended.answer.version, ended.answer.digest, ended.answer.outputs
            last_ns = now_ns - self._live.deadline_ns
            fates = [
                RequestOutcome.ANSWERED if each.ts_init >= last_ns else RequestOutcome.LATE for each in ended.questions
            ]
            error = "DeadlinePassed: answered after the deadline" if RequestOutcome.LATE in fates else ""
        return InferenceCall(
            self._model,
            ended.url,
            version,
            digest,
            ended.sent_ns,
            now_ns,
            ended.latency_ns,
            error,
            ended.questions,
            tuple(fates),
            outputs,
        )

    def _tell_health(self, health: ModelHealth) -> None:
        if not self._closed:
            with log_errors(self._owner, "telling health"):
                self._changed(health)

    # The rest runs in threads.

    def _hear_ended(self, ended: CompletedRequest) -> None:
        self._post(self._end, ended)

    def _hear_health(self, health: ModelHealth) -> None:
        self._post(self._tell_health, health)

    def _post(self, call: Callable[..., None], what: CompletedRequest | ModelHealth) -> None:
        if not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, what)

    def _watch(self) -> None:
        self._failover.watch()
        self._asker.end()
        self._asker.thread.join()
        self._failover.close()
