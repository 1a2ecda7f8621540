"""Exports a run's metrics on a port, for Prometheus to scrape."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.events import OrderEvent, OrderInitialized, PositionEvent
from nautilus_trader.model.identifiers import ClientOrderId, Identifier, InstrumentId
from prometheus_client import start_http_server

from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelHealth, calls_topic, health_topic
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.live.metrics.metrics import TradingMetrics
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic

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
        expect(0 <= self.port <= 65_535, f"port of 0 to 65535, was {self.port}")
        expect(bool(self.instrument_ids), "instrument_ids of at least 1 instrument, was none")


class MetricsActor(Actor):
    """Counts what passes over the message bus; `trading.live.metrics.metrics` has the list.

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
