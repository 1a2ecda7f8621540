"""A strategy's decisions on predictions, and the order to halt, as published on the message bus."""

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model.identifiers import Venue

from nautilus_torchserve.trading.prediction import Prediction

DECISIONS_TOPIC = "model.decisions"
"""Topic of `Decision`s."""
HALT_TOPIC = "trading.halt"
"""Topic of a `Halt`."""


@dataclass(frozen=True, eq=False)
class Decision:
    """A strategy's decision on one prediction."""

    strategy_id: str
    """The strategy's."""
    prediction: Prediction
    """The prediction that it is about."""
    ts_ns: int
    """Time of the decision, Unix ns."""
    age_ns: int
    """Age of the prediction's newest event then (nanoseconds)."""
    position: Decimal
    """Net position before it, in base currency."""
    side: str
    """``BUY`` or ``SELL``; empty where no order was sent."""
    quantity: Decimal
    """Of the order; 0 without one."""
    client_order_id: str
    """Of the order; empty without one."""
    why: str
    """Reason."""


@dataclass(frozen=True)
class Halt:
    """Makes strategies cancel their orders, close their positions and send no further ones."""

    reason: str
    """Reason: ``daily loss of 512.30 USDT, at most 500 allowed``."""
    ts_ns: int
    """Time of the halt, Unix ns."""
    venue: Venue | None = None
    """The venue whose instruments are halted; None: all."""
