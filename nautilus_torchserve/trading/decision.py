"""What a strategy made of a prediction, and the order to stop, as they pass over the message bus."""

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model.identifiers import Venue

from nautilus_torchserve.trading.prediction import Prediction

DECISIONS_TOPIC = "model.decisions"
"""Where `Decision`s are published."""
HALT_TOPIC = "trading.halt"
"""Where a `Halt` is published."""


@dataclass(frozen=True, eq=False)
class Decision:
    """One prediction, as a strategy took it."""

    strategy_id: str
    """Whose decision it is."""
    prediction: Prediction
    """What it was made on."""
    ts_ns: int
    """When, Unix ns."""
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
    """In words."""


@dataclass(frozen=True)
class Halt:
    """Strategies that hear it cancel their orders, close their positions and send no others any more."""

    reason: str
    """Why: ``daily loss of 512.30 USDT, at most 500 allowed``."""
    ts_ns: int
    """When, Unix ns."""
    venue: Venue | None = None
    """Whose instruments are meant; None: all."""
