"""An actor that writes down, line by line, what it receives from a live run."""

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderEvent, OrderFilled

from nautilus_torchserve.trading.decision import DECISIONS_TOPIC, Decision
from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelHealth, calls_topic, health_topic

BEAT_S = 0.02
"""Between two beats of the event loop (seconds)."""


class WitnessConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of `Witness`: the model it follows, and the file it writes to."""

    model: str
    path: str


class Witness(Actor):
    """One JSON object a line: ``decision``, ``call``, ``health`` or ``order``, in the order in which they came.

    A call has the turns of the event loop while it was under way: ``beats``, one every `BEAT_S`.
    """

    def __init__(self, config: WitnessConfig) -> None:
        super().__init__(config)
        self._file: TextIO = Path(config.path).open("w")  # noqa: SIM115 (closed when the node is disposed of)
        self._beats: deque[int] = deque(maxlen=1000)
        self._handlers = {
            DECISIONS_TOPIC: self._on_decision,
            calls_topic(config.model): self._on_call,
            health_topic(config.model): self._on_health,
            "events.order.*": self._on_order,
        }

    def on_start(self) -> None:
        for topic, handler in self._handlers.items():
            self.msgbus.subscribe(topic=topic, handler=handler)
        self._beat()

    def on_stop(self) -> None:
        self._next_beat.cancel()

    def _beat(self) -> None:
        """Record a turn of the event loop."""
        self._beats.append(self.clock.timestamp_ns())
        self._next_beat = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def on_dispose(self) -> None:
        self._file.close()

    def _write(self, kind: str, **fields: Any) -> None:
        self._file.write(json.dumps({"kind": kind, "ts_ns": self.clock.timestamp_ns(), **fields}) + "\n")
        self._file.flush()

    def _on_decision(self, decision: Decision) -> None:
        prediction = decision.prediction
        self._write(
            "decision", status=str(prediction.status), version=prediction.version, number=prediction.number,
            age_ns=decision.age_ns, position=str(decision.position), side=decision.side, why=decision.why,
            order=decision.client_order_id, leaving=prediction.pending_version_change,
            feature_ts=prediction.feature_ts, digest=prediction.archive_digest,
        )  # fmt: skip

    def _on_call(self, call: InferenceCall) -> None:
        self._write(
            "call", version=call.version, sent_ns=call.sent_ns, ended_ns=call.ended_ns, error=call.error,
            numbers=[request.number for request in call.requests], fates=[str(outcome) for outcome in call.outcomes],
            ts_init=[request.ts_init for request in call.requests],
            beats=sum(call.sent_ns < beat < call.ended_ns for beat in self._beats),
        )  # fmt: skip

    def _on_health(self, health: ModelHealth) -> None:
        self._write("health", state=health.state, why=health.why, version=health.version, digest=health.digest)

    def _on_order(self, event: OrderEvent) -> None:
        filled = {}
        if isinstance(event, OrderFilled):
            filled = {"quantity": str(event.last_qty), "side": "BUY" if event.order_side == OrderSide.BUY else "SELL"}
        self._write("order", event=type(event).__name__, order=event.client_order_id.value, **filled)


def witnessed(path: Path, model: str = "tick") -> str:
    """Return the part of a settings file that lets a `Witness` write to ``path``."""
    return f"""
[[actors]]
path = "witness:Witness"
config_path = "witness:WitnessConfig"
config = {{ model = "{model}", path = "{path}" }}
"""


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return what a `Witness` has written so far."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
