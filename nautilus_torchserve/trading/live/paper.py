"""Paper orders: NautilusTrader's sandbox, with fills that do not depend on what the quotes' sizes were."""

import asyncio

from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.adapters.sandbox.execution import SandboxExecutionClient
from nautilus_trader.adapters.sandbox.factory import SandboxLiveExecClientFactory as SandboxFactory
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder
from nautilus_trader.model.enums import BookType, OrderSide
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Price
from nautilus_trader.model.orders import Order
from nautilus_trader.portfolio import PortfolioFacade

from nautilus_torchserve.trading.live.settings import SandboxExecution


def paper_client(execution: SandboxExecution, venue: str) -> SandboxExecutionClientConfig:
    """Return the config of the client. Orders meet the quotes: on trades alone there is no market for them."""
    return SandboxExecutionClientConfig(
        venue=venue,
        starting_balances=[execution.balance],
        default_leverage=execution.leverage,
        oms_type="NETTING",
        account_type="MARGIN",
        bar_execution=False,
        trade_execution=False,
    )


class OneStepWorse(FillModel):
    """The whole order fills at once, one price step worse than the quote.

    A backtest fills what exceeds the quote's size another step worse. The sandbox cannot: it looks whether an order
    is filled before the first fill has passed through the node's queues, and would leave the rest open for good.
    """

    def get_orderbook_for_fill_simulation(
        self, instrument: Instrument, order: Order, best_bid: Price, best_ask: Price
    ) -> OrderBook:
        """Return the book that an order meets."""
        step = instrument.price_increment
        book = OrderBook(instrument_id=instrument.id, book_type=BookType.L2_MBP)
        for number, (side, price) in enumerate(((OrderSide.BUY, best_bid - step), (OrderSide.SELL, best_ask + step))):
            level = instrument.make_price(price)
            book.add(BookOrder(side=side, price=level, size=order.quantity, order_id=number + 1), 0, 0)
        return book


class SandboxLiveExecClientFactory(SandboxFactory):
    """Makes sandboxes that fill `OneStepWorse`.

    The name is NautilusTrader's, since its node gives the portfolio to a factory of this name only.
    """

    @staticmethod
    def create(  # type: ignore[override]
        loop: asyncio.AbstractEventLoop,
        name: str,
        config: SandboxExecutionClientConfig,
        portfolio: PortfolioFacade,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
    ) -> SandboxExecutionClient:
        client = SandboxFactory.create(loop, name, config, portfolio, msgbus, cache, clock)
        client.exchange.set_fill_model(OneStepWorse())
        return client
