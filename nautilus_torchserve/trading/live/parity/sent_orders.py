"""The orders of a run, each with the decision that it was sent on and what came of it."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from nautilus_torchserve.audit.records import DecisionRecord, FillRecord
from nautilus_torchserve.trading.live.parity.recorded_run import RecordedRun


class Key(NamedTuple):
    """What tells a decision, or an order, from all others of a run, and is the same in another run on the same data."""

    strategy_id: str
    instrument_id: str
    model: str
    """Empty for orders that were sent without a prediction."""
    ts_event: int
    """Of the event that the model was asked about, Unix ns; 0 without a prediction."""
    question: int
    """Whose answer it is; -1 without one."""
    number: int
    """Which one of those that are alike otherwise, from 0."""


@dataclass(frozen=True, eq=False)
class SentOrder:
    """An order and what came of it."""

    key: Key
    order_id: str
    ts_ns: int
    """When it was sent, Unix ns."""
    closed_ns: int
    """When the last was heard of it, Unix ns."""
    side: str
    quantity: Decimal
    ended: str
    """``FILLED``, or the last event."""
    reason: str
    """Why it was rejected or denied; else empty."""
    filled: Decimal
    """Quantity in all."""
    value: Decimal
    """Of all fills, in quote currency."""
    fees: Decimal
    """In all."""

    @property
    def price(self) -> Decimal | None:
        """On average; None without a fill."""
        return self.value / self.filled if self.filled else None

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} {self.ended}" + ("" if self.price is None else f" at {self.price:.12g}")


def keyed_decisions(run: RecordedRun) -> dict[Key, DecisionRecord]:
    """All decisions of a run, in order."""
    alike: Counter[tuple[str, str, str, int, int]] = Counter()
    found = {}
    for each in run.decisions:
        same = each.strategy_id, each.instrument_id, each.model, each.ts_event, each.question
        found[Key(*same, alike[same])] = each
        alike[same] += 1
    return found


def sent_orders(run: RecordedRun) -> dict[Key, SentOrder]:
    """All orders of a run, in the order in which they were sent."""
    reasons = {each.client_order_id: key for key, each in keyed_decisions(run).items() if each.client_order_id}
    fills: dict[str, list[FillRecord]] = {}
    for fill in run.fills:
        fills.setdefault(fill.client_order_id, []).append(fill)
    last = {each.client_order_id: each for each in run.orders}
    without: Counter[tuple[str, str]] = Counter()
    found = {}
    for each in run.orders:
        if each.event != "INITIALIZED":
            continue
        order_id, whose = each.client_order_id, (each.strategy_id, each.instrument_id)
        if order_id in reasons:
            key = reasons[order_id]
        else:
            key = Key(*whose, "", 0, -1, without[whose])
            without[whose] += 1
        mine, end = fills.get(order_id, []), last[order_id]
        found[key] = SentOrder(
            key=key,
            order_id=order_id,
            ts_ns=each.ts_ns,
            closed_ns=max(end.ts_ns, *(fill.ts_ns for fill in mine)) if mine else end.ts_ns,
            side=each.side,
            quantity=Decimal(each.quantity),
            ended="FILLED" if mine else end.event,
            reason=end.reason,
            filled=sum((Decimal(fill.quantity) for fill in mine), Decimal(0)),
            value=sum((Decimal(fill.quantity) * Decimal(fill.price) for fill in mine), Decimal(0)),
            fees=sum((Decimal(fill.fee) for fill in mine), Decimal(0)),
        )
    return found
