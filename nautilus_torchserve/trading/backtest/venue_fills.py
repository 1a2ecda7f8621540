"""Fills of market orders at the quotes of the venue's time, whatever the feed's delay.

A quote or a trade reaches a strategy at ``ts_init``, but it moved the market at ``ts_event``. NautilusTrader's
simulated exchange moves its book with the data, so at ``ts_init``: with a slow feed an order would be filled at quotes
that the venue no longer shows. A trade sets both sides of that book to its price, too, until the next quote.
"""

from collections.abc import Mapping

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.common.component import Clock
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder
from nautilus_trader.model.enums import BookType, OrderSide, OrderType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION, Price, Quantity
from nautilus_trader.model.orders import Order

from nautilus_torchserve.market.quotes.quotes import Quotes


def fill_at_venue_time(engine: BacktestEngine, quotes: Mapping[InstrumentId, Quotes]) -> None:
    """Let market orders in a backtest meet the quotes in force at the venue, real ones or those that trades imply.

    Parameters
    ----------
    engine : BacktestEngine
        Built, with the venues, and not run yet.
    quotes : mapping of InstrumentId to Quotes
        All quotes of the run, in the instruments' own decimals: see `trading.instruments.conform.conform` and
        `trading.instruments.instruments.implied`. Orders in other instruments meet received quotes.
    """
    for venue in {instrument_id.venue for instrument_id in quotes}:
        engine.change_fill_model(venue, VenueFillModel(quotes, engine.kernel.clock))


class VenueFillModel(FillModel):
    """Fills market orders at the quotes in force at the venue, and one step worse, as
    `trading.backtest.engine` does.

    Other orders are matched with what has been received.

    Parameters
    ----------
    quotes : mapping of InstrumentId to Quotes
        All quotes of the run.
    clock : Clock
        The engine's clock.
    """

    def __init__(self, quotes: Mapping[InstrumentId, Quotes], clock: Clock) -> None:
        super().__init__(prob_slippage=1.0, random_seed=1)
        self._quotes = quotes
        self._clock = clock

    def get_orderbook_for_fill_simulation(
        self, instrument: Instrument, order: Order, best_bid: Price, best_ask: Price
    ) -> OrderBook | None:
        """Return the venue's current bid and ask; None, for the received ones, unless it is a market order."""
        quotes = self._quotes.get(instrument.id)
        if quotes is None or order.order_type != OrderType.MARKET:
            return None
        last = int(np.searchsorted(quotes.ts_event, self._clock.timestamp_ns(), side="right")) - 1
        if last < 0:
            return None
        book = OrderBook(instrument.id, BookType.L2_MBP)
        price_step = 10 ** (FIXED_PRECISION - instrument.price_precision)
        size_step = 10 ** (FIXED_PRECISION - instrument.size_precision)
        bid = OrderSide.BUY, quotes.bid_price, quotes.bid_size
        ask = OrderSide.SELL, quotes.ask_price, quotes.ask_size
        for number, (side, price, size) in enumerate((bid, ask), 1):
            level = Price.from_raw(int(price[last]) * price_step, instrument.price_precision)
            quantity = Quantity.from_raw(int(size[last]) * size_step, instrument.size_precision)
            book.add(BookOrder(side, level, quantity, number), 0, 0)
        return book
