"""The records of one order in a log, from the request that led to it to its last fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nautilus_torchserve.audit.records import (
    ANSWERED,
    STARTED,
    AuditLog,
    DecisionRecord,
    FillRecord,
    OrderRecord,
    RequestRecord,
    SessionRecord,
)
from nautilus_torchserve.user_error import UserError


class UnknownOrder(UserError, LookupError):
    """The log has no such order, or several."""


@dataclass(frozen=True, eq=False)
class OrderStory:
    """One order's records, every kind in order of time."""

    order_id: str
    run_id: str
    session: SessionRecord | None
    """The run's begin; None where that was lost."""
    requests: tuple[RequestRecord, ...]
    """The request whose response the order was sent on, and where another one got no response, that one too."""
    decision: DecisionRecord | None
    """None for orders that were sent without a prediction, as at a halt or the end."""
    events: tuple[OrderRecord, ...]
    fills: tuple[FillRecord, ...]

    @property
    def filled(self) -> Decimal:
        """Quantity of all fills."""
        return sum((Decimal(fill.quantity) for fill in self.fills), Decimal(0))

    @property
    def average_price(self) -> Decimal | None:
        """Average price of all fills; None without any."""
        value = sum((Decimal(fill.price) * Decimal(fill.quantity) for fill in self.fills), Decimal(0))
        return value / self.filled if self.filled else None

    @property
    def fees(self) -> Mapping[str, Decimal]:
        """Currency -> all fees."""
        totals: dict[str, Decimal] = {}
        for fill in self.fills:
            totals[fill.fee_currency] = totals.get(fill.fee_currency, Decimal(0)) + Decimal(fill.fee)
        return totals

    @property
    def reference_price(self) -> Decimal | None:
        """Middle of bid and ask when it was decided, or the last trade's price; None where neither is known."""
        decision = self.decision
        if decision is None or not ((decision.bid and decision.ask) or decision.last):
            return None
        return (
            (Decimal(decision.bid) + Decimal(decision.ask)) / 2
            if decision.bid and decision.ask
            else Decimal(decision.last)
        )

    @property
    def slippage_bps(self) -> Decimal | None:
        """Difference by which the average fill is worse than `reference_price`, bps; None where either is not known."""
        price, reference = self.average_price, self.reference_price
        if price is None or not reference:
            return None
        sign = 1 if self.fills[0].side == "BUY" else -1
        return 10_000 * sign * (price - reference) / reference

    def features(self, columns: Sequence[str] = ()) -> Mapping[str, float]:
        """Return name -> value of the request's features; of a window of steps, the last one.

        Parameters
        ----------
        columns : sequence of str
            Their names, where there are as many; else they are numbered.
        """
        if not self.requests:
            return {}
        width = self.requests[-1].shape[-1]
        names = columns if len(columns) == width else [str(number) for number in range(width)]
        return dict(zip(names, self.requests[-1].features[-width:].tolist(), strict=True))


def story_of(log: AuditLog, order_id: str, run_id: str | None = None) -> OrderStory:
    """Return what became of an order, and why it was sent.

    Parameters
    ----------
    order_id : str
        The ``client_order_id``.
    run_id : str, optional
        Whose order; needed where several runs gave the same id, as backtests do.

    Raises
    ------
    UnknownOrder
        There is none of that id, or there are several.
    LogFailed
        The log cannot be read.
    """
    where = {"client_order_id": order_id} if run_id is None else {"client_order_id": order_id, "run_id": run_id}
    events = log.read(OrderRecord, **where)
    fills = log.read(FillRecord, **where)
    decisions = log.read(DecisionRecord, **where)
    runs = sorted({record.run_id for record in (*events, *fills, *decisions)})
    if not runs:
        of_run = "" if run_id is None else f" of run {run_id}"
        raise UnknownOrder(f"{log.name}: expected an order{of_run} in the log, got {order_id!r}")
    if len(runs) > 1:
        raise UnknownOrder(f"{log.name}: expected {order_id} of one run, got {', '.join(runs)}")
    decision = decisions[0] if decisions else None
    sessions = log.read(SessionRecord, run_id=runs[0], event=STARTED)
    return OrderStory(
        order_id=order_id,
        run_id=runs[0],
        session=sessions[0] if sessions else None,
        requests=() if decision is None else _requests(log, decision),
        decision=decision,
        events=tuple(events),
        fills=tuple(fills),
    )


def _requests(log: AuditLog, decision: DecisionRecord) -> tuple[RequestRecord, ...]:
    """Return the request about the prediction's event, and the one that was answered, where that is another one."""
    about = {"run_id": decision.run_id, "instrument_id": decision.instrument_id, "model": decision.model}
    led_to = log.read(RequestRecord, **about, ts_event=decision.ts_event)
    answered = log.read(RequestRecord, **about, question=decision.question, fate=ANSWERED)
    without = [request for request in led_to if request.fate != ANSWERED] if decision.status != "OK" else []
    before = [request for request in (*without, *answered) if request.seq < decision.seq]
    return tuple(sorted(before, key=lambda request: request.fate == ANSWERED))


def orders(log: AuditLog, run_id: str | None = None) -> list[dict[str, Any]]:
    """Return all orders of a run, or of all runs: what was sent, and how far it came.

    Raises
    ------
    LogFailed
        The log cannot be read.
    """
    where = {} if run_id is None else {"run_id": run_id}
    listed: dict[tuple[str, str], dict[str, Any]] = {}
    for event in log.read(OrderRecord, **where):
        order = listed.setdefault(
            (event.run_id, event.client_order_id),
            {
                "run_id": event.run_id,
                "order_id": event.client_order_id,
                "ts_ns": event.ts_ns,
                "instrument_id": event.instrument_id,
                "side": event.side,
                "quantity": event.quantity,
            },
        )
        order["event"] = event.event
    for fill in log.read(FillRecord, **where):
        key = fill.run_id, fill.client_order_id
        if key in listed:
            listed[key]["event"] = "FILLED"
            listed[key]["filled"] = str(Decimal(listed[key].get("filled", "0")) + Decimal(fill.quantity))
    return list(listed.values())
