"""The trading side's own metrics: what there is to scrape, and how it is counted."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from nautilus_trader.model.events import OrderEvent, OrderFilled
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelHealth
from nautilus_torchserve.trading.prediction import Prediction, Status

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
