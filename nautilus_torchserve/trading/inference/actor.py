"""The base of actors that use a model: connection, requests, predictions when they take effect, warm start."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Sequence

import pandas as pd
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock, TimeEvent
from nautilus_trader.core.datetime import unix_nanos_to_dt
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, PredictionResponse
from nautilus_torchserve.trading.backtest.delay_queue import AboutInstrument, DelayQueue
from nautilus_torchserve.trading.backtest.simulated_time import check_time
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.dispatcher import InferenceDispatcher
from nautilus_torchserve.trading.inference.messages import (
    InferenceCall,
    ModelHealth,
    ModelInput,
    PredictionRequest,
    calls_topic,
    health_topic,
)
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.prediction import (
    LivePredictions,
    Prediction,
    Status,
    build_prediction,
    prediction_type,
)
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.traffic.router import open_routes
from nautilus_torchserve.traffic.routes import FixedRoute, Routes
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore
from nautilus_torchserve.traffic.versions import CheckMetadata, ModelConnector
from nautilus_torchserve.wire.errors import RequestError

HISTORY_WITHIN_NS = 30 * 10**9
"""Longest wait for the history of a warm start (nanoseconds)."""


class ModelActor(Actor):
    """Sends requests to a model and publishes its predictions when they take effect.

    A subclass decides what is requested and when.

    In a backtest a request blocks until its response; in simulated time the response takes effect when the config's
    `Delay` says, counted from its event's ``ts_init``. Responses that are due after the last datum never take effect,
    since simulated time ends there: they stay in `pending`.

    In a live run (the clock says which it is) a request is submitted to an `InferenceDispatcher`, which sends it beside
    the event loop, and its prediction is published as soon as the response is there. Where a request gets none in time,
    the instrument's last good prediction is published again as DEGRADED, for strategies to handle.

    With ``traffic``, requests go where a `traffic.router.Router` sends them. An instrument with an open position or
    order stays with its version. When it does change, predictions of its former version that have not taken effect
    yet become SUPERSEDED, and are not to be traded on.

    Parameters
    ----------
    config : ModelActorConfig
    instrument_ids : iterable of InstrumentId
        The instruments that predictions are about.
    data_type : callable
        Returns the data type published about an instrument.
    """

    can_be_live = True
    """Whether it submits requests where the clock is a live one."""

    def __init__(
        self,
        config: ModelActorConfig,
        instrument_ids: Iterable[InstrumentId],
        data_type: Callable[[InstrumentId], DataType] = prediction_type,
    ) -> None:
        super().__init__(config)
        self.data_types = {instrument_id: data_type(instrument_id) for instrument_id in instrument_ids}
        """Instrument -> the data type published about it."""
        self.pending: DelayQueue[AboutInstrument] = DelayQueue()
        """Predictions that have not taken effect yet."""
        self.published: tuple[Prediction, ModelInput] | None = None
        """The last prediction that took effect in a backtest, and the model's input for it."""
        self.client: InferenceClient | None = None
        """In a backtest: takes the place of a connection, as `trading.backtest.prefetch.two_passes` has it."""
        self.gave_up = False
        """True after ``max_failures`` in a row: no more requests are sent."""
        self.last_error = ""
        """``Kind: message`` of the last failed request."""
        self.last_refusal = ""
        """``Kind: message`` of the last refused row."""
        self.handler_errors = 0
        """Exceptions in its handlers in a live run; each was logged."""
        self._routes: Routes | None = None
        self._store: TrafficStore | None = None
        self._dispatcher: InferenceDispatcher | None = None
        self._live_predictions = LivePredictions()
        self._fill: Callable[[], str] | None = None
        self._logged = ""
        self._failed_in_a_row = 0
        self._delay = config.delay()
        self._alerts: set[int] = set()
        self._versions: dict[InstrumentId, str] = {}
        self._inputs: dict[int, ModelInput] = {}

    def connect_model(
        self, schema: FeatureSchema, check_metadata: CheckMetadata | None = None
    ) -> dict[InstrumentId, Instrument]:
        """Connect to the model; to be called by ``on_start``.

        Parameters
        ----------
        check_metadata : callable, optional
            Raises `RequestError` where this actor cannot use a version with this metadata.

        Returns
        -------
        dict
            The instruments that predictions are about.

        Raises
        ------
        RuntimeError
            An instrument is not in the cache, or this kind of actor cannot be used in a live run.
        RequestError
            In a backtest: the model cannot be reached, was trained on other features than ``schema``, or does not
            suit this actor. In a live run it is tried again and again beside the event loop, and reported as health.
        StoreFailed
            In a backtest: the store of traffic splits cannot be opened.
        """
        instruments = {name: self.cache.instrument(name) for name in self.data_types}
        for name, instrument in instruments.items():
            if instrument is None:
                raise self._logged_error(RuntimeError(f"expected {name} in the cache, got none"))
        try:
            (self._connect_live if self.is_live else self._connect)(schema, check_metadata)
        except (RequestError, StoreFailed) as error:
            raise self._logged_error(error) from None
        return instruments

    def _connect(self, schema: FeatureSchema, check_metadata: CheckMetadata | None) -> None:
        if self.client is not None:
            if check_metadata is not None:
                check_metadata(self.client.metadata)
            self._routes = FixedRoute(self.client)
            return
        config, token = self.config, os.environ.get(self.config.token_env)
        model = config.url, config.model, schema, token, config.timeout_s, check_metadata, config.model_spec()
        self._store = None if config.traffic is None else TrafficStore(config.traffic)
        self._routes = open_routes(ModelConnector(*model), config.version, self._store)

    def _connect_live(self, schema: FeatureSchema, check_metadata: CheckMetadata | None) -> None:
        if not self.can_be_live:
            raise self._logged_error(RuntimeError(f"expected a backtest of a {type(self).__name__}, got a live clock"))
        self._dispatcher = InferenceDispatcher(
            self.config,
            schema,
            check_metadata,
            loop=asyncio.get_running_loop(),
            now_ns=self.clock.timestamp_ns,
            has_exposure=self.has_exposure,
            deliver=self._deliver,
            on_health=self._on_health,
            owner=self,
        )

    def _logged_error(self, error: Exception) -> Exception:
        self.log.error(f"Cannot use {self.config.model} at {self.config.url}: {error}")
        return error

    @property
    def is_live(self) -> bool:
        """Whether this is a live run; else time is simulated."""
        return not isinstance(self.clock, TestClock)

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent."""
        return self._dispatcher is not None or self._routes is not None

    def on_stop(self) -> None:
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close()
        if self._routes is not None:
            self.send_waiting(sys.maxsize)  # these predictions never take effect, as those that are due after the end
            self._routes.close()
        if self._store is not None:
            self._store.close()
        self._routes = self._store = None

    def has_exposure(self, instrument_id: InstrumentId) -> bool:
        """Return whether a position or an order is open."""
        return bool(
            self.cache.positions_open_count(instrument_id=instrument_id)
            + self.cache.orders_open_count(instrument_id=instrument_id)
            + self.cache.orders_inflight_count(instrument_id=instrument_id)
        )

    # Live runs

    def submit(self, request: PredictionRequest) -> None:
        """Submit a request in a live run; returns at once."""
        assert self._dispatcher is not None
        self._dispatcher.submit(request)

    def _deliver(self, call: InferenceCall, split: str) -> None:
        """Publish a call and its predictions, the newest event first; none of requests that the end cuts off."""
        self.msgbus.publish(topic=calls_topic(self.config.model), msg=call)
        if self._dispatcher is None:
            return
        now_ns, changes = self.clock.timestamp_ns(), self._dispatcher.pending_version_change
        for prediction in self._live_predictions.of_call(call, split, now_ns, changes):
            self.publish_data(self.data_types[prediction.instrument_id], prediction)

    def _on_health(self, health: ModelHealth) -> None:
        (self.log.warning if health.why else self.log.info)(str(health))
        self.msgbus.publish(topic=health_topic(self.config.model), msg=health)

    def begin_warm_start(self, fill: Callable[[], str]) -> pd.Timestamp | None:
        """Begin a live run's warm start; to be called by ``on_start``, once the stream is subscribed to.

        Parameters
        ----------
        fill : callable
            Fills the features from the events so far, and returns a description of them. Called once: when history
            has arrived (`end_warm_start`), or when it has not within `HISTORY_WITHIN_NS`.

        Returns
        -------
        Timestamp or None
            The start of the history to request; None: there is no warm start, and the stream flows.
        """
        if not self.is_live or not self.config.warm_up_ns:
            return None
        self._fill = fill
        now_ns = self.clock.timestamp_ns()
        self.clock.set_time_alert_ns("warm-up", now_ns + HISTORY_WITHIN_NS, self._on_no_history)
        return unix_nanos_to_dt(now_ns - self.config.warm_up_ns)

    @isolate_errors
    def end_warm_start(self, request_id: UUID4 | None = None) -> None:
        """Fill the features from the history that has arrived."""
        fill, self._fill = self._fill, None
        if fill is not None:
            self.clock.cancel_timer("warm-up")
            self.log.info(f"Features are filled with {fill()}")

    @isolate_errors
    def _on_no_history(self, event: TimeEvent) -> None:
        fill, self._fill = self._fill, None
        if fill is not None:
            self.log.warning(f"No history within {HISTORY_WITHIN_NS / 1e9:g} s; features are filled with {fill()}")

    # Backtests

    def route(self, instrument_id: InstrumentId, ts_event: int) -> Route:
        """Return the route of a request about an instrument; the same for all without ``traffic``."""
        assert self._routes is not None
        if self._routes.assignment is None:
            return Route()
        return self._routes.route(instrument_id.value, ts_event, self.has_exposure(instrument_id))

    def send(
        self, route: Route, inputs: Inputs, subjects: Sequence[Sequence[InstrumentId]], ts_event: int
    ) -> PredictionResponse:
        """Send one request and wait for its response.

        Parameters
        ----------
        route : Route
            What `route` returned for all of its subjects.
        subjects : sequence of sequences of InstrumentId
            The instruments that each of the inputs is about.
        ts_event : int
            When the newest event among them happened, Unix ns.

        Raises
        ------
        RequestError
            There is no response.
        """
        assert self._routes is not None
        names = [tuple(instrument_id.value for instrument_id in instrument_ids) for instrument_ids in subjects]
        return self._routes.send(route, inputs, names, ts_event)

    def schedule(self, ts_init: int) -> int:
        """Return when the response to a request that is sent then takes effect, and set the alert that publishes it.

        To be called once a request, in the order in which they are sent, while that event is handled, see
        `trading.backtest.simulated_time`.
        """
        due_ns = self._delay.due(ts_init)
        self.set_alert(due_ns)
        return due_ns

    def set_alert(self, ts_ns: int) -> None:
        """Have `send_waiting` called at a time, Unix ns, and what is due by then published.

        There is one alert for all that is to be done at that time: alerts of one time have no order of their own, and
        NautilusTrader before 1.223 has the venue take the orders of the first of them alone.
        """
        if ts_ns not in self._alerts:
            self._alerts.add(ts_ns)
            self.clock.set_time_alert_ns(f"model-{ts_ns}", ts_ns, self._on_alert)

    def send_waiting(self, now_ns: int) -> None:
        """Send the requests that have waited until now, Unix ns; here none ever waits."""

    def _on_alert(self, event: TimeEvent) -> None:
        self._alerts.discard(event.ts_event)
        self.send_waiting(event.ts_event)
        self._publish_due(event.ts_event)

    def schedule_publish(
        self,
        response: PredictionResponse,
        row: int,
        request: PredictionRequest,
        due_ns: int,
        split: str = "",
        model_input: ModelInput | None = None,
    ) -> None:
        """Queue the prediction of one row of a response until it takes effect.

        Parameters
        ----------
        request : PredictionRequest
            Of that row.
        due_ns : int
            What `schedule` returned.
        split : str
            Name of the traffic split that the request belongs to.
        model_input : NewsWindow, optional
            The model's input, where that was more than the request's features.
        """
        assert self._routes is not None
        instrument_id = request.instrument_id
        if self._versions.setdefault(instrument_id, response.version) != response.version:
            self._change_version(instrument_id, response.version)
        changes = self._routes.pending_version_change(instrument_id.value, request.ts_event)
        prediction = build_prediction(response, row, request, due_ns, split, changes)
        self.pending.add(prediction)
        self._inputs[id(prediction)] = request.features if model_input is None else model_input

    def _change_version(self, instrument_id: InstrumentId, version: str) -> None:
        """Supersede predictions of other versions, so that none opens a position for this one to close."""
        self._versions[instrument_id] = version
        if self._routes is None or self._routes.assignment is None:
            return
        for data in self.pending:
            if isinstance(data, Prediction) and data.instrument_id == instrument_id:
                data.status = Status.SUPERSEDED

    def _publish_due(self, now_ns: int) -> None:
        for data in self.pending.until(now_ns):
            check_time(self.clock, self.cache, data.instrument_id)
            if isinstance(data, Prediction):
                self.published = data, self._inputs.pop(id(data))
            self.publish_data(self.data_types[data.instrument_id], data)

    def record_failure(self, error: RequestError, subject: str) -> None:
        """Log and remember why there is no prediction for a subject.

        A version on trial may fail for long: with ``traffic`` the same error is not logged again.
        """
        self.last_error = f"{type(error).__name__}: {error}"
        if self.config.traffic is None or self.last_error != self._logged:
            self.log.error(f"No prediction for {subject}: {self.last_error}")
        self._logged = self.last_error

    def record_refusal(self, error: RequestError, subject: str) -> None:
        """Log and remember why the model refused the features of a subject; the same reason is logged once."""
        refusal, before = f"{type(error).__name__}: {error}", self.last_refusal
        self.last_refusal = refusal
        if refusal.partition(",")[0] != before.partition(",")[0]:
            self.log.warning(f"No prediction for {subject}, the model refused it: {refusal}")

    def count_event(self, is_answered: bool, on_trial: bool = False) -> None:
        """Count an event with or without a response; ``max_failures`` of these in a row end the requests.

        A refused row is a response: the server works. Events that only versions on trial failed do not count:
        ending the trial is its owner's decision.
        """
        if is_answered:
            self._logged = ""
        elif on_trial:
            return
        self._failed_in_a_row = 0 if is_answered else self._failed_in_a_row + 1
        if self._failed_in_a_row >= self.config.max_failures:
            self.gave_up = True
            self.log.error(f"{self._failed_in_a_row} requests failed in a row: no more are sent")
