"""The orders of a recorded run and of its backtest, one by one, each difference with its reason."""

from dataclasses import dataclass

from nautilus_torchserve.trading.live.parity.reasons import Market, Reasons
from nautilus_torchserve.trading.live.parity.recorded_run import RecordedRun
from nautilus_torchserve.trading.live.parity.sent_orders import Key, SentOrder, sent_orders


@dataclass(frozen=True)
class OrderDifference:
    """An order that one side has and the other has not, or has otherwise."""

    ts_ns: int
    """When it was sent, Unix ns, in the recorded run's time."""
    strategy_id: str
    question: int | None
    """Whose answer it was sent on; None without a prediction."""
    order_id: str
    """The recorded run's; empty: it had none."""
    live: str
    """Side, quantity, end and price; empty: none."""
    backtest: str
    """The same of the backtest's."""
    explanation: str
    """Why; empty where the records do not say."""


@dataclass(frozen=True)
class OrderParity:
    """What became of comparing all orders."""

    live: int
    """Orders in the log."""
    backtest: int
    """Orders of the backtest."""
    equal: int
    """In both, with the same side, quantity, end, fills, price and fees."""
    most_apart_ns: int
    """By how much an equal order was sent earlier or later than in the backtest at most (nanoseconds)."""
    differences: tuple[OrderDifference, ...]

    @property
    def explained(self) -> bool:
        """Whether each difference is."""
        return all(difference.explanation for difference in self.differences)


def compare_orders(live: RecordedRun, backtest: RecordedRun, market: Market) -> OrderParity:
    """Compare two runs on the same data, in the same time."""
    live_orders, backtest_orders = sent_orders(live), sent_orders(backtest)
    reasons = Reasons(live, backtest, market)
    differences, equal, apart_ns = [], 0, 0
    times = {key: order.ts_ns for key, order in (backtest_orders | live_orders).items()}
    for key in sorted(times, key=lambda key: times[key]):
        mine, other = live_orders.get(key), backtest_orders.get(key)
        if mine is not None and other is not None and _came_to(mine) == _came_to(other):
            equal += 1
            apart_ns = max(apart_ns, abs(mine.ts_ns - other.ts_ns))
        else:
            differences.append(_difference(key, times[key], mine, other, reasons.why(key)))
    return OrderParity(len(live_orders), len(backtest_orders), equal, apart_ns, tuple(differences))


def _came_to(order: SentOrder) -> tuple[object, ...]:
    return order.side, order.quantity, order.ended, order.filled, order.value, order.fees


def _difference(
    key: Key, ts_ns: int, mine: SentOrder | None, other: SentOrder | None, explanation: str
) -> OrderDifference:
    return OrderDifference(
        ts_ns=ts_ns,
        strategy_id=key.strategy_id,
        question=key.question if key.model else None,
        order_id="" if mine is None else mine.order_id,
        live="" if mine is None else str(mine),
        backtest="" if other is None else str(other),
        explanation=explanation,
    )
