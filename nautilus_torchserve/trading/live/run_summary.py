"""Summary of a live run as one JSON object."""

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate
from typing import Any

from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.live.audit.actor import AuditSummary
from nautilus_torchserve.trading.live.risk.guard import RiskGuard, TradingHalted
from nautilus_torchserve.trading.live.run_record import ModelOutage, RunRecord
from nautilus_torchserve.trading.live.settings import LiveSettings
from nautilus_torchserve.user_error import UserError

INTERVAL_S = 0.01
"""Between two measurements (seconds)."""
BLOCKED_MS = 50.0
"""Lags above this count as blocked: no handler of ours takes so long (milliseconds)."""
_BOUNDS_MS = [0.01 * 1.05**step for step in range(330)]
"""Upper ends of the bins, 10 us to some 90 s, each 5 % wider than the one before it."""


class LoopLag:
    """Measures by how much a short sleep takes too long.

    A millisecond of that is the timer's own: epoll counts in milliseconds. The distribution is kept in bins of 5 %,
    in constant memory.
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_MS) + 1)
        self.max_ms = 0.0
        """The largest."""
        self.blocked_s = 0.0
        """Sum of all lags above `BLOCKED_MS`: a quantile does not show one long one (seconds)."""

    async def measure(self) -> None:
        """Measure until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(INTERVAL_S)
            self.add(1e3 * (time.perf_counter() - began - INTERVAL_S))

    def add(self, lag_ms: float) -> None:
        """Add a measurement."""
        self._counts[bisect_left(_BOUNDS_MS, lag_ms)] += 1
        self.max_ms = max(self.max_ms, lag_ms)
        if lag_ms > BLOCKED_MS:
            self.blocked_s += lag_ms / 1e3

    def quantile_ms(self, share: float) -> float:
        """Return the upper end of the bin in which the quantile lies; 0 before the first measurement."""
        total = sum(self._counts)
        if not total:
            return 0.0
        place = bisect_left(list(accumulate(self._counts)), share * total)
        return min(_BOUNDS_MS[place], self.max_ms) if place < len(_BOUNDS_MS) else self.max_ms


MODEL_LOST, AUDIT_INCOMPLETE = 4, 5
"""Exit statuses of a run that ended without its model, and of one whose audit log lacks records."""


class RunFailed(UserError):
    """A live run that failed.

    Parameters
    ----------
    result : mapping
        The run's summary, which holds the reasons and the exit status.
    """

    def __init__(self, result: Mapping[str, Any]) -> None:
        super().__init__("; ".join(result["failures"]))
        self.exit_code = result["exit_status"]


@dataclass(frozen=True)
class Ending:
    """The end of a run."""

    reason: str
    """Reason, in words."""
    failed: bool
    """Whether the run did not end as its settings require."""
    flat: bool
    """Whether positions and orders were closed, where the settings require it."""


def run_summary(
    settings: LiveSettings,
    metadata: ModelMetadata | None,
    node: TradingNode,
    instrument_ids: list[InstrumentId],
    guard: RiskGuard,
    record: RunRecord,
    lag: LoopLag,
    ending: Ending,
    audit: AuditSummary | None,
) -> dict[str, Any]:
    """Return the run in figures.

    ``failures`` are the reasons why the run failed, in sentences; ``model_lost`` is the outage of the model at the end,
    ``audit`` the state of the audit log. ``fills_lost`` counts the fills that the execution engine reported and no
    order in its cache has, which ought to be 0; ``position`` is the net position of each instrument at the end,
    ``filled`` the quantities bought and sold of it.
    """
    orders = node.cache.orders()
    fills = sum(isinstance(event, OrderFilled) for order in orders for event in order.events)
    playback, outage = record.playback, record.model.outage
    failures = _failures(ending, guard, outage, audit)
    return {
        "trader_id": settings.node.trader_id,
        "real": settings.is_real,
        "model": settings.model.name,
        "connected": None if metadata is None else {"version": metadata.version, "digest": metadata.archive_digest},
        "started": _iso(node.kernel.ts_started),
        "ended": _iso(node.kernel.clock.timestamp_ns()),
        "ending": ending.reason,
        "failed": bool(failures),
        "failures": failures,
        "exit_status": _exit_status(ending, guard, outage, audit),
        "model_lost": None
        if outage is None
        else {"since": _iso(outage.since_ns), "failed": outage.failed, "why": outage.why},
        "audit": None
        if audit is None
        else {
            "log": audit.log,
            "run_id": audit.run_id,
            "missing": audit.missing,
            "since": _iso(audit.missing_since_ns),
            "why": audit.why,
            "last_hash": audit.last_hash,
        },
        "flat": ending.flat,
        "halted": guard.halted,
        "replay": None if playback is None else asdict(playback),
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


def _exit_status(ending: Ending, guard: RiskGuard, outage: ModelOutage | None, audit: AuditSummary | None) -> int:
    """Return the exit status; of several reasons the one that comes first here."""
    if guard.halted:
        return TradingHalted.exit_code
    if _run_failures(ending, guard):
        return RunFailed.exit_code
    if outage is not None:
        return MODEL_LOST
    return AUDIT_INCOMPLETE if audit is not None and audit.missing else 0


def _failures(ending: Ending, guard: RiskGuard, outage: ModelOutage | None, audit: AuditSummary | None) -> list[str]:
    failures = _run_failures(ending, guard)
    if outage is not None:
        failures.append(
            f"the run ended without its model: {outage.failed} predictions failed since {_iso(outage.since_ns)}: "
            f"{outage.why}"
        )
    if audit is not None and audit.missing:
        failures.append(
            f"{audit.log}: the audit log of run {audit.run_id} lacks {audit.missing} records since "
            f"{_iso(audit.missing_since_ns) or 'a time that the log gives'}: {audit.why}"
        )
    return failures


def _run_failures(ending: Ending, guard: RiskGuard) -> list[str]:
    failures = []
    if ending.failed:
        failures.append(ending.reason if ending.flat else f"not flat at the end ({ending.reason})")
    if guard.handler_errors:
        failures.append(f"{guard.handler_errors} errors in the risk guard, see the log")
    return failures


def _position(node: TradingNode, instrument_id: InstrumentId) -> Decimal:
    positions = node.cache.positions_open(instrument_id=instrument_id)
    return sum((position.signed_decimal_qty() for position in positions), Decimal(0))


def _iso(ts_ns: int | None) -> str | None:
    return None if ts_ns is None else datetime.fromtimestamp(ts_ns / 1e9, UTC).isoformat()
