"""Times and sizes of the small market, and what the strategy did on it."""

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model.orders import Order

from strategies.tick_strategy import TickStrategy

MS = 1_000_000
START = 1_700_000_000_000 * MS
SIZE = Decimal("0.010")


@dataclass(frozen=True)
class Traded:
    """What the strategy did."""

    orders: list[Order]
    positions_open: int
    strategy: TickStrategy

    def sides(self) -> list[tuple[str, Decimal]]:
        """Side and quantity of each order that was sent before the end."""
        return [(order.side.name, order.quantity.as_decimal()) for order in self.orders if order.tags]

    def times_ms(self) -> list[int]:
        """When each of them was sent, in ms of the market's time."""
        return [(order.ts_init - START) // MS for order in self.orders if order.tags]
