"""Fills of market orders at the quotes of the venue's time, whatever the feed's delay.

A quote or a trade reaches a strategy at ``ts_init``, but it moved the market at ``ts_event``. NautilusTrader's
simulated exchange moves its book with the data, so at ``ts_init``: with a slow feed an order would be filled at quotes
that the venue no longer shows. A trade sets both sides of that book to its price, too, until the next quote.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.common.component import Clock
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.enums import BookType, OrderSide, OrderType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Price
from nautilus_trader.model.orders import Order

from nautilus_torchserve.market.quotes.quotes import Depth, Quotes
from nautilus_torchserve.trading.instruments.instruments import book_order


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
    """Fills market orders at the quotes in force at the venue, level by level where they have several, and one step
    worse, as `trading.backtest.engine` does.

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
        for number, (side, price, size) in enumerate(_levels(quotes, last), 1):
            book.add(book_order(side, price, size, quotes.instrument, number), 0, 0)
        return book


def _levels(quotes: Quotes, position: int) -> Iterator[tuple[OrderSide, int, int]]:
    """Yield side, price and size of each level of one quote, in the instrument's steps."""
    names = ("bid_prices", "bid_sizes"), ("ask_prices", "ask_sizes")
    if not isinstance(quotes, Depth):
        names = ("bid_price", "bid_size"), ("ask_price", "ask_size")
    for side, (prices, sizes) in zip((OrderSide.BUY, OrderSide.SELL), names, strict=True):
        levels = (np.atleast_1d(getattr(quotes, name)[position]).tolist() for name in (prices, sizes))
        yield from ((side, price, size) for price, size in zip(*levels, strict=True) if price)
