"""Exports a run's metrics on a port, for Prometheus to scrape."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.events import OrderEvent, OrderFilled, OrderInitialized, PositionEvent
from nautilus_trader.model.identifiers import ClientOrderId, Identifier, InstrumentId
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelHealth, calls_topic, health_topic
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_topic

LATENCY_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper edges of buckets for calls (seconds)."""
AGE_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
"""Upper edges of buckets for ages of predictions, the way from the venue included (seconds)."""
LAG_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
STATES = ("closed", "half_open", "open")
"""Values of `ModelHealth.state`."""
NO_MODEL = "none"
"""Model and version of orders that were sent without a prediction."""
LOOK_EVERY_S = 0.1
"""Between two measurements of the event loop's lag (seconds)."""


class ErrorCounting(Protocol):
    """A component that counts its handlers' exceptions."""

    id: Identifier
    handler_errors: int


class MetricsActorConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of a `MetricsActor`.

    Parameters
    ----------
    models : list of str
        Whose calls to count.
    instrument_ids : list of InstrumentId
        Whose predictions to count.
    port : int
        Where to listen; 0 takes any that is free, which is logged.
    host : str
        At which address; ``0.0.0.0`` lets other machines connect.
    """

    models: list[str]
    instrument_ids: list[InstrumentId]
    port: int = 0
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        expect(0 <= self.port <= 65_535, f"port of 0 to 65535, got {self.port}")
        expect(bool(self.instrument_ids), "instrument_ids of at least 1 instrument, got none")


class MetricsActor(Actor):
    """Counts what passes over the message bus; `trading.live.metrics.actor` has the list.

    The port is open from the start until the actor is disposed of, so that what strategies do when they are
    stopped can be scraped, too.

    Parameters
    ----------
    config : MetricsActorConfig
    """

    def __init__(self, config: MetricsActorConfig) -> None:
        super().__init__(config)
        self.handler_errors = 0
        """Exceptions in handlers of a live run, see `trading.isolate_errors`."""
        self.metrics = TradingMetrics(self._errors)
        """The metrics that are exported."""
        self.port: int | None = None
        """Port that it listens on; None while it does not."""
        self._watched: Sequence[ErrorCounting] = ()
        self._looking: asyncio.TimerHandle | None = None
        self._topics = [
            *((calls_topic(model), self._on_call) for model in config.models),
            *((health_topic(model), self._on_health) for model in config.models),
            *((prediction_topic(instrument_id), self._on_prediction) for instrument_id in config.instrument_ids),
            ("events.order.*", self._on_order),
            ("events.position.*", self._on_position),
            (HALT_TOPIC, self._on_halt),
        ]

    def watch(self, components: Iterable[object]) -> None:
        """Export the ``handler_errors`` of those components that count them."""
        self._watched = [component for component in components if hasattr(component, "handler_errors")]  # type: ignore[misc]

    def on_start(self) -> None:
        config = self.config
        try:
            self._server, self._thread = start_http_server(config.port, config.host, self.metrics.registry)
        except OSError as error:
            self.log.error(f"Cannot export metrics at {config.host}:{config.port}: {error}")
            raise
        self.port = self._server.server_port
        self.log.info(f"Metrics at http://{config.host}:{self.port}/metrics")
        for topic, handler in self._topics:
            self.msgbus.subscribe(topic=topic, handler=handler)
        if not isinstance(self.clock, TestClock):
            self._look(asyncio.get_running_loop())

    def on_stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    def on_dispose(self) -> None:
        if self.port is None:
            return
        for topic, handler in self._topics:
            self.msgbus.unsubscribe(topic=topic, handler=handler)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.port = None

    @isolate_errors
    def _on_call(self, call: InferenceCall) -> None:
        self.metrics.record_call(call)

    @isolate_errors
    def _on_health(self, health: ModelHealth) -> None:
        self.metrics.record_health(health)

    @isolate_errors
    def _on_prediction(self, prediction: Prediction) -> None:
        self.metrics.record_prediction(prediction, self.clock.timestamp_ns())

    @isolate_errors
    def _on_order(self, event: OrderEvent) -> None:
        is_new = isinstance(event, OrderInitialized)  # before the cache knows the order
        self.metrics.record_order(event, (event.tags or ()) if is_new else self._tags(event.client_order_id))

    @isolate_errors
    def _on_position(self, event: PositionEvent) -> None:
        self.metrics.record_position(
            event.instrument_id.value,
            self._tags(event.opening_order_id),
            event.signed_qty,  # of a closed one 0
        )

    @isolate_errors
    def _on_halt(self, halt: Halt) -> None:
        self.metrics.record_halt()

    def _tags(self, client_order_id: ClientOrderId) -> Sequence[str]:
        order = self.cache.order(client_order_id)
        return (order and order.tags) or ()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + LOOK_EVERY_S

        def look() -> None:
            self.metrics.record_lag(max(0.0, loop.time() - due))
            self._look(loop)

        self._looking = loop.call_at(due, look)

    def _errors(self) -> dict[str, int]:
        return {str(component.id): component.handler_errors for component in (*self._watched, self)}


class TradingMetrics:
    """Metrics of a live run, in a registry of their own.

    Parameters
    ----------
    handler_errors : callable
        Returns component -> exceptions in its handlers so far; called at each scrape.
    """

    def __init__(self, handler_errors: Callable[[], Mapping[str, int]]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_HandlerErrors(handler_errors))
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        by_server, by_order = ("model", "url"), ("model", "version", "instrument_id")
        self._latency = histogram(
            "model_request_latency_seconds", "Wall time of a call to a model.", by_server, buckets=LATENCY_S
        )
        self._rows = histogram("model_request_rows", "Questions in one request.", ("model",), buckets=ROWS)
        self._errors = counter("model_request_errors", "Calls to a model that failed.", (*by_server, "kind"))
        self._questions = counter(
            "model_questions", "Questions by what became of them: ANSWERED, LATE, EXPIRED, FAILED.", ("model", "fate")
        )
        self._predictions = counter("model_predictions", "Predictions published.", (*by_order, "status"))
        self._age = histogram(
            "model_prediction_age_seconds",
            "Age of a good prediction's newest event when it is published.",
            by_order,
            buckets=AGE_S,
        )
        self._breaker = gauge(
            "model_breaker_state", "1 for the state that a server's circuit breaker is in.", (*by_server, "state")
        )
        self._serving = gauge(
            "model_version_info", "1 for the version that answers at a server.", (*by_server, "version", "digest")
        )
        self._orders = counter("trading_order_events", "Events of orders.", (*by_order, "event"))
        self._fills = counter("trading_fills", "Fills.", (*by_order, "side"))
        self._filled = counter("trading_filled_quantity", "Quantity filled, base currency.", (*by_order, "side"))
        self._position = gauge(
            "trading_position", "Net position by who opened it, base currency, short below 0.", by_order
        )
        self._halts = counter("trading_halts", "Orders to stop trading.")
        self._lag = histogram("event_loop_lag_seconds", "How late the event loop runs what is due.", buckets=LAG_S)
        self._versions: dict[tuple[str, str], tuple[str, str]] = {}

    def record_call(self, call: InferenceCall) -> None:
        """Count a call that ended, or requests that were never sent."""
        for fate in call.outcomes:
            self._questions.labels(call.model, fate.value).inc()
        if not call.sent_ns:
            return
        self._latency.labels(call.model, call.url).observe(call.latency_ns / 1e9)
        self._rows.labels(call.model).observe(len(call.requests))
        if call.error:
            self._errors.labels(call.model, call.url, call.error.partition(":")[0]).inc()

    def record_health(self, health: ModelHealth) -> None:
        """Record a change of a server's health."""
        for state in STATES:
            self._breaker.labels(health.model, health.url, state).set(state == health.state)
        server, answers = (health.model, health.url), (health.version, health.digest)
        before = self._versions.get(server)
        if before is not None and before != answers:
            self._serving.remove(*server, *before)
        if health.version:
            self._versions[server] = answers
            self._serving.labels(*server, *answers).set(1)

    def record_prediction(self, prediction: Prediction, now_ns: int) -> None:
        """Count a prediction as it is published."""
        labels = prediction.model, prediction.version, prediction.instrument_id.value
        self._predictions.labels(*labels, str(prediction.status)).inc()
        if prediction.status == Status.OK:
            self._age.labels(*labels).observe((now_ns - prediction.feature_ts) / 1e9)

    def record_order(self, event: OrderEvent, tags: Iterable[str]) -> None:
        """Count an event of an order with these tags."""
        labels = (*_model_and_version(tags), event.instrument_id.value)
        self._orders.labels(*labels, type(event).__name__.removeprefix("Order").lower()).inc()
        if isinstance(event, OrderFilled):
            side = "buy" if event.is_buy else "sell"
            self._fills.labels(*labels, side).inc()
            self._filled.labels(*labels, side).inc(event.last_qty.as_double())

    def record_position(self, instrument_id: str, tags: Iterable[str], quantity: float) -> None:
        """Record the net position that an order with these tags has opened, as it is now."""
        self._position.labels(*_model_and_version(tags), instrument_id).set(quantity)

    def record_halt(self) -> None:
        """Count an order to stop trading."""
        self._halts.inc()

    def record_lag(self, late_s: float) -> None:
        """Record how late the event loop was once (seconds)."""
        self._lag.observe(late_s)


def _model_and_version(tags: Iterable[str]) -> tuple[str, str]:
    """Return model and version that an order was sent for."""
    values = dict(tag.split("=", 1) for tag in tags if "=" in tag)
    return values.get("model") or NO_MODEL, values.get("version") or NO_MODEL


class _HandlerErrors(Collector):
    def __init__(self, errors: Callable[[], Mapping[str, int]]) -> None:
        self._errors = errors

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "trading_handler_errors", "Exceptions in handlers of our components.", labels=("component",)
        )
        for component, count in self._errors().items():
            family.add_metric((component,), count)
        yield family
