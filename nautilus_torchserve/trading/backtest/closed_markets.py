"""Orders that are sent while a market is closed wait for its next open.

NautilusTrader's simulated exchange has no market hours: it fills a market order at the last quote, however old. So
in a backtest orders to a market in a break are held on their way to the exchange, and go on with the first quote
after the break.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import (
    CancelAllOrders,
    CancelOrder,
    SubmitOrder,
    SubmitOrderList,
    TradingCommand,
)
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.events import OrderCanceled
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.orders import Order

from nautilus_torchserve.market.bars.quotes import Breaks

ENDPOINT = "ExecEngine.execute"
"""Endpoint of the commands that the risk engine accepts."""


class ClosedMarkets:
    """Holds the orders of one backtest while their market is closed.

    An order that waits stays ``INITIALIZED``, and may be canceled.

    Parameters
    ----------
    engine : BacktestEngine
        Built, and not run yet.
    breaks : mapping of InstrumentId to Breaks
        When each market is closed; one that is not named never is.
    """

    def __init__(self, engine: BacktestEngine, breaks: Mapping[InstrumentId, Breaks]) -> None:
        self.held: Counter[InstrumentId] = Counter()
        """Number of orders that had to wait so far."""
        self._engine = engine.kernel.exec_engine
        self._clock = engine.kernel.clock
        self._breaks = breaks
        self._waiting: dict[InstrumentId, list[SubmitOrder | SubmitOrderList]] = {}
        bus = engine.kernel.msgbus
        bus.deregister(endpoint=ENDPOINT, handler=self._engine.execute)
        bus.register(endpoint=ENDPOINT, handler=self._execute)
        for instrument_id in breaks:
            topic = f"data.quotes.{instrument_id.venue}.{instrument_id.symbol}"
            bus.subscribe(topic=topic, handler=self._on_quote)

    def is_closed(self, instrument_id: InstrumentId) -> bool:
        """Return whether an instrument's market is closed now."""
        breaks = self._breaks.get(instrument_id)
        if breaks is None:
            return False
        now_ns = self._clock.timestamp_ns()
        last = int(np.searchsorted(breaks.closed_ns, now_ns, side="right")) - 1
        return last >= 0 and now_ns < breaks.open_ns[last]

    def _execute(self, command: TradingCommand) -> None:
        instrument_id = command.instrument_id
        if isinstance(command, SubmitOrder | SubmitOrderList) and self.is_closed(instrument_id):
            self._waiting.setdefault(instrument_id, []).append(command)
            self.held[instrument_id] += len(_orders(command))
        elif not (isinstance(command, CancelOrder | CancelAllOrders) and self._cancel(command)):
            self._engine.execute(command)

    def _on_quote(self, quote: QuoteTick) -> None:
        if self._waiting and not self.is_closed(quote.instrument_id):
            for command in self._waiting.pop(quote.instrument_id, []):
                self._engine.execute(command)

    def _cancel(self, command: CancelOrder | CancelAllOrders) -> bool:
        """Cancel waiting orders; return whether the command is done with that."""
        waiting = self._waiting.get(command.instrument_id, [])
        for held in list(waiting):
            orders = _orders(held)
            if isinstance(command, CancelOrder):
                named = command.client_order_id in {order.client_order_id for order in orders}
            else:
                named = command.strategy_id == held.strategy_id
            if named:
                waiting.remove(held)
                for order in orders:
                    self._engine.process(self._canceled(order))
                if isinstance(command, CancelOrder):
                    return True
        return False

    def _canceled(self, order: Order) -> OrderCanceled:
        now_ns = self._clock.timestamp_ns()
        return OrderCanceled(
            trader_id=order.trader_id,
            strategy_id=order.strategy_id,
            instrument_id=order.instrument_id,
            client_order_id=order.client_order_id,
            venue_order_id=None,
            account_id=None,
            event_id=UUID4(),
            ts_event=now_ns,
            ts_init=now_ns,
        )


def _orders(command: SubmitOrder | SubmitOrderList) -> list[Order]:
    return [command.order] if isinstance(command, SubmitOrder) else command.order_list.orders
