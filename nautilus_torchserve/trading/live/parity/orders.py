"""The orders of a recorded run and of its backtest, one by one, each difference with its reason."""

from dataclasses import dataclass

from nautilus_torchserve.trading.live.parity.reasons import Market, Reasons
from nautilus_torchserve.trading.live.parity.recorded_run import RecordedRun
from nautilus_torchserve.trading.live.parity.sent_orders import Key, SentOrder, sent_orders


@dataclass(frozen=True)
class OrderDifference:
    """An order that one side has and the other has not, or has otherwise."""

    ts_ns: int
    """Time at which it was sent, Unix ns, in the recorded run's time."""
    strategy_id: str
    question: int | None
    """Number of the request whose response it was sent on; None without a prediction."""
    order_id: str
    """The recorded run's; empty: it had none."""
    live: str
    """Side, quantity, end and price; empty: none."""
    backtest: str
    """The same of the backtest's."""
    explanation: str
    """Reason; empty where the records do not show it."""


@dataclass(frozen=True)
class OrderParity:
    """The comparison of all orders."""

    live: int
    """Orders in the log."""
    backtest: int
    """Orders of the backtest."""
    equal: int
    """Orders of both, with the same side, quantity, end, fills, price and fees."""
    most_apart_ns: int
    """By how much an equal order was sent earlier or later than in the backtest at most (nanoseconds)."""
    differences: tuple[OrderDifference, ...]

    @property
    def explained(self) -> bool:
        """Whether every difference is explained."""
        return all(difference.explanation for difference in self.differences)


def compare_orders(live: RecordedRun, backtest: RecordedRun, market: Market) -> OrderParity:
    """Compare two runs on the same data, in the same time."""
    live_orders, backtest_orders = sent_orders(live), sent_orders(backtest)
    reasons = Reasons(live, backtest, market)
    differences, equal, apart_ns = [], 0, 0
    times = {key: order.ts_ns for key, order in (backtest_orders | live_orders).items()}
    for key in sorted(times, key=lambda key: times[key]):
        live_order, backtest_order = live_orders.get(key), backtest_orders.get(key)
        if live_order is not None and backtest_order is not None and _outcome(live_order) == _outcome(backtest_order):
            equal += 1
            apart_ns = max(apart_ns, abs(live_order.ts_ns - backtest_order.ts_ns))
        else:
            differences.append(_difference(key, times[key], live_order, backtest_order, reasons.why(key)))
    return OrderParity(len(live_orders), len(backtest_orders), equal, apart_ns, tuple(differences))


def _outcome(order: SentOrder) -> tuple[object, ...]:
    return order.side, order.quantity, order.ended, order.filled, order.value, order.fees


def _difference(
    key: Key, ts_ns: int, live_order: SentOrder | None, backtest_order: SentOrder | None, explanation: str
) -> OrderDifference:
    return OrderDifference(
        ts_ns=ts_ns,
        strategy_id=key.strategy_id,
        question=key.question if key.model else None,
        order_id="" if live_order is None else live_order.order_id,
        live="" if live_order is None else str(live_order),
        backtest="" if backtest_order is None else str(backtest_order),
        explanation=explanation,
    )
