"""The orders of a run, each with the decision that it was sent on and its outcome."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from nautilus_torchserve.audit.records import DecisionRecord, FillRecord
from nautilus_torchserve.trading.live.parity.recorded_run import RecordedRun


class Key(NamedTuple):
    """Identity of a decision, or an order, within a run; equal in another run on the same data."""

    strategy_id: str
    instrument_id: str
    model: str
    """Empty for orders that were sent without a prediction."""
    ts_event: int
    """Time of the event that the prediction is about, Unix ns; 0 without a prediction."""
    question: int
    """Number of the request; -1 without one."""
    number: int
    """Position among those that are otherwise equal, from 0."""


@dataclass(frozen=True, eq=False)
class SentOrder:
    """An order and its outcome."""

    key: Key
    order_id: str
    ts_ns: int
    """Time at which it was sent, Unix ns."""
    closed_ns: int
    """Time of its last event, Unix ns."""
    side: str
    quantity: Decimal
    ended: str
    """``FILLED``, or the last event."""
    reason: str
    """Reason why it was rejected or denied; else empty."""
    filled: Decimal
    """Quantity of all fills."""
    value: Decimal
    """Value of all fills, in quote currency."""
    fees: Decimal
    """Fees of all fills."""

    @property
    def price(self) -> Decimal | None:
        """Average price; None without a fill."""
        return self.value / self.filled if self.filled else None

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} {self.ended}" + ("" if self.price is None else f" at {self.price:.12g}")


def keyed_decisions(run: RecordedRun) -> dict[Key, DecisionRecord]:
    """Return all decisions of a run, in order."""
    alike: Counter[tuple[str, str, str, int, int]] = Counter()
    keyed = {}
    for decision in run.decisions:
        same = decision.strategy_id, decision.instrument_id, decision.model, decision.ts_event, decision.question
        keyed[Key(*same, alike[same])] = decision
        alike[same] += 1
    return keyed


def sent_orders(run: RecordedRun) -> dict[Key, SentOrder]:
    """Return all orders of a run, in the order in which they were sent."""
    decided = {
        decision.client_order_id: key for key, decision in keyed_decisions(run).items() if decision.client_order_id
    }
    fills: dict[str, list[FillRecord]] = {}
    for fill in run.fills:
        fills.setdefault(fill.client_order_id, []).append(fill)
    last = {event.client_order_id: event for event in run.orders}
    without: Counter[tuple[str, str]] = Counter()
    orders = {}
    for event in run.orders:
        if event.event != "INITIALIZED":
            continue
        order_id, owner = event.client_order_id, (event.strategy_id, event.instrument_id)
        if order_id in decided:
            key = decided[order_id]
        else:
            key = Key(*owner, "", 0, -1, without[owner])
            without[owner] += 1
        order_fills, end = fills.get(order_id, []), last[order_id]
        orders[key] = SentOrder(
            key=key,
            order_id=order_id,
            ts_ns=event.ts_ns,
            closed_ns=max(end.ts_ns, *(fill.ts_ns for fill in order_fills)) if order_fills else end.ts_ns,
            side=event.side,
            quantity=Decimal(event.quantity),
            ended="FILLED" if order_fills else end.event,
            reason=end.reason,
            filled=sum((Decimal(fill.quantity) for fill in order_fills), Decimal(0)),
            value=sum((Decimal(fill.quantity) * Decimal(fill.price) for fill in order_fills), Decimal(0)),
            fees=sum((Decimal(fill.fee) for fill in order_fills), Decimal(0)),
        )
    return orders
