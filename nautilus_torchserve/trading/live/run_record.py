"""Counts what a live run does, from the message bus, for its summary and for knowing when it has settled."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nautilus_trader.common.component import MessageBus
from nautilus_trader.model.data import Bar, TradeTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderEvent, OrderFilled
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.inference.endpoint import SLOW
from nautilus_torchserve.trading.inference.messages import (
    STOPPED,
    InferenceCall,
    ModelHealth,
    RequestOutcome,
    calls_topic,
    health_topic,
)
from nautilus_torchserve.trading.live.replay.client import PLAYBACK_TOPIC, Playback
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic

_MAX_REASON = 200
HEALTH_KEPT = 1000
"""Changes of health that the summary lists; of more the first."""


class RunRecord:
    """Counts of what passes over the message bus.

    Parameters
    ----------
    bus : MessageBus
        The node's message bus.
    model : str
        Name of the model.
    instrument_ids : iterable of InstrumentId
        The traded instruments.
    on_played : callable
        Called with the reason when a replay has come to its end.
    max_failures : int
        As `trading.live.run_record.ModelWatch` takes it.
    """

    def __init__(
        self,
        bus: MessageBus,
        model: str,
        instrument_ids: Iterable[InstrumentId],
        on_played: Callable[[str], None],
        max_failures: int,
    ) -> None:
        self.model = ModelWatch(max_failures)
        """Whether the model answers."""
        self.events = 0
        """Trades and bars received."""
        self.questions: Counter[str] = Counter()
        """Request outcome -> requests."""
        self.predictions: Counter[tuple[str, str]] = Counter()
        """Version and status -> predictions."""
        self.health: list[ModelHealth] = []
        """Changes, in order."""
        self.order_events: Counter[str] = Counter()
        """Kind of event -> how many."""
        self.filled: dict[str, dict[str, Decimal]] = {}
        """Instrument -> side -> quantity filled, as the execution engine reported."""
        self.playback: Playback | None = None
        """State of a replay, as last published."""
        self.last_activity_ns = 0
        """Time of the last data, end of a request or change of an order, by the wall clock, Unix ns."""
        self._on_played = on_played
        self._last_event: dict[InstrumentId, int] = {}
        self._last_ended: dict[InstrumentId, int] = {}
        for instrument_id in instrument_ids:
            venue, symbol = instrument_id.venue, instrument_id.symbol
            bus.subscribe(topic=f"data.trades.{venue}.{symbol}", handler=self._on_trade)
            bus.subscribe(topic=f"data.bars.{instrument_id}-*", handler=self._on_bar)
            bus.subscribe(topic=prediction_topic(instrument_id), handler=self._on_prediction)
        bus.subscribe(topic=calls_topic(model), handler=self._on_call)
        bus.subscribe(topic=health_topic(model), handler=self._on_health)
        bus.subscribe(topic="events.order.*", handler=self._on_order_event)
        bus.subscribe(topic=PLAYBACK_TOPIC, handler=self._on_playback)

    @property
    def has_played(self) -> bool:
        """Whether a replay has come to its end."""
        return self.playback is not None and self.playback.ended

    @property
    def all_ended(self) -> bool:
        """Whether the request about the last event of each instrument has ended."""
        return all(self._last_ended.get(name, -1) >= ts for name, ts in self._last_event.items())

    def summary(self) -> dict[str, Any]:
        """Return the counts, for JSON."""
        versions: dict[str, dict[str, int]] = {}
        for (version, status), count in self.predictions.items():
            versions.setdefault(version, {})[status] = count
        return {
            "events": self.events,
            "questions": {str(fate): count for fate, count in self.questions.items()},
            "predictions": versions,
            "order_events": dict(self.order_events),
            "filled": {
                name: {side: str(quantity) for side, quantity in sides.items()} for name, sides in self.filled.items()
            },
            "health": [
                {name: getattr(change, name) for name in ("ts_ns", "url", "state", "version", "why")}
                for change in self.health
            ],
        }

    def _on_trade(self, trade: TradeTick) -> None:
        self._count_event()
        self._last_event[trade.instrument_id] = trade.ts_event

    def _on_bar(self, bar: Bar) -> None:
        self._count_event()
        self._last_event[bar.bar_type.instrument_id] = bar.ts_event

    def _count_event(self) -> None:
        self.events += 1
        self.last_activity_ns = time.time_ns()

    def _on_prediction(self, prediction: Prediction) -> None:
        self.predictions[prediction.version, str(prediction.status)] += 1

    def _on_call(self, call: InferenceCall) -> None:
        self.last_activity_ns = time.time_ns()
        self.model.on_call(call)
        for request, fate in zip(call.requests, call.outcomes, strict=True):
            self.questions[fate] += 1
            last = self._last_ended.get(request.instrument_id, -1)
            self._last_ended[request.instrument_id] = max(last, request.ts_event)

    def _on_health(self, health: ModelHealth) -> None:
        self.model.on_health(health)
        if len(self.health) < HEALTH_KEPT:
            self.health.append(health)

    def _on_order_event(self, event: OrderEvent) -> None:
        self.last_activity_ns = time.time_ns()
        self.order_events[type(event).__name__] += 1
        if isinstance(event, OrderFilled):
            sides = self.filled.setdefault(str(event.instrument_id), {"BUY": Decimal(0), "SELL": Decimal(0)})
            sides["BUY" if event.order_side == OrderSide.BUY else "SELL"] += event.last_qty.as_decimal()

    def _on_playback(self, playback: Playback) -> None:
        self.playback = playback
        if playback.ended:
            self._on_played("end of the recorded data")


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
