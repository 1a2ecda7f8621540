"""What actors that ask a model share: connecting, publishing when it is due, giving up."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from nautilus_trader.common.component import TimeEvent
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.client import InferenceClient, PredictionResponse, connect
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.simulated_time import check_time
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.delay_queue import DelayQueue
from nautilus_torchserve.trading.inference.live_asking import LiveAsking
from nautilus_torchserve.trading.inference.messages import OneInput, PredictionRequest
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_type
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore
from nautilus_torchserve.wire.errors import RequestError
from nautilus_torchserve.wire.news_windows import NewsWindow


class AboutInstrument(Protocol):
    """What a `ModelActor` publishes."""

    instrument_id: InstrumentId
    ts_init: int


class ModelActor(LiveAsking):
    """Asks a model and publishes what it says when that is due; a subclass knows what to ask and when.

    In a backtest a request blocks until it is answered; in simulated time the answer takes effect when the config's
    `Delay` says, counted from its event's ``ts_init``. Answers that are due after the last datum never take effect,
    since simulated time ends there: they stay in `pending`.

    In a live run (the clock says which it is) a question is `put` to `LiveCalls`, which asks it beside the event
    loop, and its prediction is published as soon as the answer is there. Where a question gets none in time, the
    instrument's last good prediction is published again as DEGRADED: strategies know what to do about that.

    With ``traffic``, requests go where a `traffic.router.Router` says. An instrument with a
    position or an order open
    stays with its version. Where it does change, what the version before said about it and has not taken effect
    yet is LEFT: nobody is to trade on it any more.

    Parameters
    ----------
    config : ModelActorConfig
    instrument_ids : iterable of InstrumentId
        What predictions will be about.
    data_type : callable
        What is published about an instrument.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        instrument_ids: Iterable[InstrumentId],
        data_type: Callable[[InstrumentId], DataType] = prediction_type,
    ) -> None:
        super().__init__(config, instrument_ids, data_type)
        self.pending: DelayQueue[AboutInstrument] = DelayQueue()
        """Answers that have not taken effect yet."""
        self.gave_up = False
        """True after ``max_failures`` in a row: nothing is asked any more."""
        self.last_error = ""
        """What the last failed request said."""
        self.last_refusal = ""
        """Why the last row was refused."""
        self._logged = ""
        self._failed_in_a_row = 0
        self._delay = config.delay()
        self._alerts: set[int] = set()
        self._client: InferenceClient | None = None
        self._router: Router | None = None
        self._store: TrafficStore | None = None
        self._answered_by: dict[InstrumentId, str] = {}
        self._asked: dict[int, OneInput] = {}
        self.published: tuple[Prediction, OneInput] | None = None
        """The last prediction that took effect, and what the model was asked for it."""

    def connect_model(
        self, schema: FeatureSchema, fits: Callable[[ModelMetadata], None] = lambda metadata: None
    ) -> dict[InstrumentId, Instrument]:
        """Connect to the model; to be called by ``on_start``.

        Parameters
        ----------
        fits : callable
            Given a version's metadata, raises `RequestError` where this actor cannot ask it.

        Returns
        -------
        dict
            The instruments that predictions will be about.

        Raises
        ------
        RuntimeError
            An instrument is not in the cache, or this kind of actor cannot ask in a live run.
        RequestError
            In a backtest: the model cannot be reached, was trained on other features than ``schema``, or does not
            fit. In a live run that is tried again and again beside the event loop, and its health says so.
        StoreFailed
            In a backtest: the store of traffic splits cannot be opened.
        """
        instruments = {name: self.cache.instrument(name) for name in self.data_types}
        for name, instrument in instruments.items():
            if instrument is None:
                raise self.refused(RuntimeError(f"{name} in the cache expected, was missing"))
        try:
            if self.is_live:
                self.go_live(schema, fits)
            else:
                self._connect(schema, fits)
        except (RequestError, StoreFailed) as error:
            raise self.refused(error) from None
        return instruments

    def _connect(self, schema: FeatureSchema, fits: Callable[[ModelMetadata], None]) -> None:
        config, token = self.config, os.environ.get(self.config.token_env)
        if config.traffic is None:
            self._client = connect(
                config.url, config.model, config.version, schema=schema, token=token, timeout_s=config.timeout_s
            )
            fits(self._client.metadata)
        else:
            self._store = TrafficStore(config.traffic)
            self._router = Router(
                config.url, config.model, self._store, schema=schema, token=token, timeout_s=config.timeout_s, fits=fits
            )

    @property
    def is_connected(self) -> bool:
        """Whether there is anybody to ask."""
        return self.is_asking_live or self._client is not None or self._router is not None

    def on_stop(self) -> None:
        if self.is_connected and not self.is_live:
            self.ask_waiting(sys.maxsize)  # the answers never take effect, as those that are due after the end
        super().on_stop()
        for each in (self._client, self._router, self._store):
            if each is not None:
                each.close()
        self._client = self._router = self._store = None

    def route(self, instrument_id: InstrumentId, ts_event: int) -> Route:
        """Where a request about an instrument goes; everywhere the same without ``traffic``."""
        if self._router is None:
            return Route()
        return self._router.route(instrument_id.value, ts_event, self.is_held(instrument_id))

    def ask(
        self, route: Route, inputs: Inputs, about: Sequence[Sequence[InstrumentId]], ts_event: int
    ) -> PredictionResponse:
        """Send one request and wait for its answer.

        Parameters
        ----------
        route : Route
            What `route` said of all that they are about.
        about : sequence of sequences of InstrumentId
            The instruments that each of the inputs is about.
        ts_event : int
            When the newest event among them happened, Unix ns.

        Raises
        ------
        RequestError
            There is no answer.
        """
        if self._router is not None:
            names = [tuple(instrument_id.value for instrument_id in each) for each in about]
            return self._router.ask(route, inputs, names, ts_event)
        assert self._client is not None
        return self._client.predict(inputs)

    def schedule(self, ts_init: int) -> int:
        """When the answer to a request that leaves then takes effect; sees to it that it will be published.

        To be called once a request, in the order in which they leave.

        To be called while that event is handled, see `trading.backtest.simulated_time`.
        """
        due = self._delay.due(ts_init)
        self.set_alert(due)
        return due

    def set_alert(self, ts_ns: int) -> None:
        """Have `ask_waiting` called at a time, Unix ns, and what is due by then published.

        There is one alert for all that is to be done at that time: alerts of one time have no order of their own, and
        NautilusTrader before 1.223 has the venue take the orders of the first of them alone.
        """
        if ts_ns not in self._alerts:
            self._alerts.add(ts_ns)
            self.clock.set_time_alert_ns(f"model-{ts_ns}", ts_ns, self._on_alert)

    def ask_waiting(self, now_ns: int) -> None:
        """Ask about what has waited until now, Unix ns; here nothing ever waits."""

    def _on_alert(self, event: TimeEvent) -> None:
        self._alerts.discard(event.ts_event)
        self.ask_waiting(event.ts_event)
        self._publish_due(event.ts_event)

    def schedule_publish(
        self,
        answer: PredictionResponse,
        row: int,
        question: PredictionRequest,
        due: int,
        split: str = "",
        told: NewsWindow | None = None,
    ) -> None:
        """Keep one row of an answer until its time comes.

        Parameters
        ----------
        question : Question
            What the model was asked for it.
        due : int
            What `schedule` said.
        split : str
            Name of the traffic split that the request was a part of.
        told : NewsWindow, optional
            What the model was asked, where that was more than the question's features.
        """
        instrument_id, ts_event = question.instrument_id, question.ts_event
        if self._answered_by.setdefault(instrument_id, answer.version) != answer.version:
            self._leave_version(instrument_id, answer.version)
        prediction = Prediction(
            ts_event=ts_event,
            ts_init=due,
            instrument_id=instrument_id,
            model=answer.model,
            version=answer.version,
            archive_digest=answer.digest,
            outputs={name: values.item(row) for name, values in answer.outputs.items()},
            feature_ts=ts_event,
            latency_ns=answer.latency_ns,
            split=split,
            leaving=self._router is not None and self._router.leaving(instrument_id.value, ts_event),
            number=question.number,
        )
        self.pending.add(prediction)
        self._asked[id(prediction)] = question.asked if told is None else told

    def _leave_version(self, instrument_id: InstrumentId, version: str) -> None:
        """Mark what other versions said, so that none of them opens a position for this one to close."""
        self._answered_by[instrument_id] = version
        if self._router is None:
            return
        for said in self.pending:
            if isinstance(said, Prediction) and said.instrument_id == instrument_id:
                said.status = Status.LEFT

    def _publish_due(self, now_ns: int) -> None:
        for said in self.pending.until(now_ns):
            check_time(self.clock, self.cache, said.instrument_id)
            if isinstance(said, Prediction):
                self.published = said, self._asked.pop(id(said))
            self.publish_data(self.data_types[said.instrument_id], said)

    def record_failure(self, error: RequestError, asked_for: str) -> None:
        """Log and remember why there is no prediction for ``asked_for``.

        A version on trial may fail for long: what is the same as before is not logged again where there is one.
        """
        self.last_error = f"{type(error).__name__}: {error}"
        if self._router is None or self.last_error != self._logged:
            self.log.error(f"No prediction for {asked_for}: {self.last_error}")
        self._logged = self.last_error

    def record_refusal(self, error: RequestError, asked_for: str) -> None:
        """Log and remember why the model refused the features of ``asked_for``; the same reason is logged once."""
        refusal, before = f"{type(error).__name__}: {error}", self.last_refusal
        self.last_refusal = refusal
        if refusal.partition(",")[0] != before.partition(",")[0]:
            self.log.warning(f"No prediction for {asked_for}, the model refused it: {refusal}")

    def count_event(self, answered: bool, on_trial: bool = False) -> None:
        """Count an event that got an answer, or none; too many of these in a row end the asking.

        A refused row is an answer: the server works.
        Not so where only versions on trial were asked: ending that is the affair of whoever tries them.
        """
        if answered:
            self._logged = ""
        elif on_trial:
            return
        self._failed_in_a_row = 0 if answered else self._failed_in_a_row + 1
        if self._failed_in_a_row >= self.config.max_failures:
            self.gave_up = True
            self.log.error(f"{self._failed_in_a_row} requests failed in a row: asking no more")
