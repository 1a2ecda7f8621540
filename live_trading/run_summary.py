"""What a live run did, as one JSON object."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId

from live_trading.loop_lag import LoopLag
from live_trading.risk_guard import RiskGuard
from live_trading.run_record import RunRecord
from live_trading.settings import LiveSettings


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    reason: str
    """In words."""
    failed: bool
    """Whether it was not what was asked for."""
    flat: bool
    """Whether positions and orders were closed, where that was asked for."""


def run_summary(
    settings: LiveSettings,
    metadata: Mapping[str, Any] | None,
    node: TradingNode,
    instrument_ids: list[InstrumentId],
    guard: RiskGuard,
    record: RunRecord,
    lag: LoopLag,
    ending: Ending,
) -> dict[str, Any]:
    """The run in figures.

    ``fills_lost`` is what the execution engine told of and no order in its cache has, which ought to be 0;
    ``position`` is the net position of each instrument at the end, ``filled`` what was bought and sold of it.
    """
    orders = node.cache.orders()
    fills = sum(isinstance(event, OrderFilled) for order in orders for event in order.events)
    playback = record.playback
    return {
        "trader_id": settings.node.trader_id,
        "real": settings.is_real,
        "model": settings.model.actor.get("model", settings.model.kind),
        "connected": None if metadata is None else {
            "version": metadata["version"], "digest": metadata["archive_digest"]
        },
        "started": _iso(node.kernel.ts_started),
        "ended": _iso(node.kernel.clock.timestamp_ns()),
        "ending": ending.reason,
        "failed": ending.failed or guard.handler_errors > 0,
        "flat": ending.flat,
        "halted": guard.halted,
        "replay": None if playback is None else {
            "source": playback.source,
            "sha256": playback.sha256,
            "shift_ns": playback.shift_ns,
            "events": playback.events,
            "ended": playback.ended,
        },
        **record.summary(),
        "orders": len(orders),
        "orders_by_status": Counter(order.status_string() for order in orders),
        "fills": fills,
        "fills_lost": record.order_events["OrderFilled"] - fills,
        "position": {str(name): str(_position(node, name)) for name in instrument_ids},
        "pnl": str(guard.pnl),
        "loop_lag_ms": {
            "p50": round(lag.quantile_ms(0.5), 3),
            "p99": round(lag.quantile_ms(0.99), 3),
            "max": round(lag.max_ms, 3),
        },
        "loop_blocked_s": round(lag.blocked_s, 3),
    }


def _position(node: TradingNode, instrument_id: InstrumentId) -> Decimal:
    positions = node.cache.positions_open(instrument_id=instrument_id)
    return sum((position.signed_decimal_qty() for position in positions), Decimal(0))


def _iso(ts_ns: int | None) -> str | None:
    return None if ts_ns is None else datetime.fromtimestamp(ts_ns / 1e9, UTC).isoformat()
