"""The largest value of an order, for accounts on margin too: there NautilusTrader's own RiskEngine checks nothing.

`RiskEngine._check_orders_risk` of NautilusTrader 1.221 returns at once for a margin account, so that its
``max_notional_per_order`` holds for cash accounts alone. Futures are traded on margin.
"""

from collections.abc import Mapping
from decimal import Decimal

from nautilus_trader.execution.messages import SubmitOrder, SubmitOrderList, TradingCommand
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price
from nautilus_trader.model.orders import Order
from nautilus_trader.system.kernel import NautilusKernel

ENDPOINT = "RiskEngine.execute"
"""Endpoint to which strategies send their commands."""


class OrderLimits:
    """Stands before the risk engine and denies orders above their limit.

    Orders that only make a position smaller pass: a limit must not prevent a position from being closed.

    Parameters
    ----------
    kernel : NautilusKernel
        Of the node.
    max_notional : mapping
        Instrument -> largest value of an order, in quote currency; without one there is no limit.
    """

    def __init__(self, kernel: NautilusKernel, max_notional: Mapping[InstrumentId, Decimal]) -> None:
        self._engine, self._cache, self._portfolio = kernel.risk_engine, kernel.cache, kernel.portfolio
        self._max_notional = dict(max_notional)
        kernel.msgbus.deregister(endpoint=ENDPOINT, handler=self._engine.execute)
        kernel.msgbus.register(endpoint=ENDPOINT, handler=self.execute)

    def execute(self, command: TradingCommand) -> None:
        """Deny a command, or pass it on to the risk engine."""
        orders: list[Order] = []
        if isinstance(command, SubmitOrder):
            orders = [command.order]
        elif isinstance(command, SubmitOrderList):
            orders = command.order_list.orders
        reasons = [reason for order in orders if (reason := self._refusal(order))]
        if not reasons:
            self._engine.execute(command)
            return
        for order in orders:
            self._engine._deny_order(order, reasons[0])

    def _refusal(self, order: Order) -> str:
        """Return why the order is denied; empty where it is not."""
        most = self._max_notional.get(order.instrument_id)
        if most is None or self._only_reduces(order):
            return ""
        price = self._price(order)
        if price is None:
            return "expected a price to value the order at, got none"
        instrument = self._cache.instrument(order.instrument_id)
        value = instrument.notional_value(order.quantity, price).as_decimal()
        return f"expected an order of at most {most}, got {value}" if value > most else ""

    def _only_reduces(self, order: Order) -> bool:
        position = self._portfolio.net_position(order.instrument_id)
        against = position > 0 if order.side == OrderSide.SELL else position < 0
        return order.is_reduce_only or (against and order.quantity.as_decimal() <= abs(position))

    def _price(self, order: Order) -> Price | None:
        """Return the order's own price, or else the one that it would meet."""
        if order.has_price:
            return order.price
        quote = self._cache.quote_tick(order.instrument_id)
        if quote is not None:
            return quote.ask_price if order.side == OrderSide.BUY else quote.bid_price
        trade = self._cache.trade_tick(order.instrument_id)
        return None if trade is None else trade.price
