"""Fills of market orders at the quotes of the venue's time, whatever the feed's delay.

A trade reaches a strategy at ``ts_init``, but it moved the market at ``ts_event``. NautilusTrader's simulated exchange
moves its book with the data, so at ``ts_init``: with a slow feed an order would be filled at quotes that the venue no
longer shows.
"""

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.common.component import Clock
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder
from nautilus_trader.model.enums import BookType, OrderSide, OrderType
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION, Price, Quantity
from nautilus_trader.model.orders import Order

from nautilus_torchserve.market.trades.trades import Trades, implied_quotes
from nautilus_torchserve.trading.instruments.conform import tick_steps


def fill_at_venue_time(engine: BacktestEngine, trades: Trades, instrument: Instrument) -> bool:
    """Let market orders in a backtest meet the quotes that the trades imply at the venue's time.

    Parameters
    ----------
    engine : BacktestEngine
        Built, with the venue, and not run yet.

    Returns
    -------
    bool
        Whether any trade is received later than it was made; where none is, nothing changes.
    """
    is_late = bool((trades.ts_init > trades.ts_event).any())
    if is_late:
        model = VenueFillModel(trades, tick_steps(instrument), engine.kernel.clock)
        engine.change_fill_model(instrument.id.venue, model)
    return is_late


class VenueFillModel(FillModel):
    """Fills market orders at the quotes in force at the venue, and one step worse, as
    `trading.backtest.engine` does.

    Other orders are matched with what has been received.

    Parameters
    ----------
    trades : Trades
        All trades of the run.
    tick : int
        The instrument's tick, in steps of 10**-price_precision.
    clock : Clock
        The engine's clock.
    """

    def __init__(self, trades: Trades, tick: int, clock: Clock) -> None:
        super().__init__(prob_slippage=1.0, random_seed=1)
        self._ts_event = trades.ts_event
        self._bid, self._ask = implied_quotes(trades, tick)
        self._size = trades.size
        self._clock = clock

    def get_orderbook_for_fill_simulation(
        self, instrument: Instrument, order: Order, best_bid: Price, best_ask: Price
    ) -> OrderBook | None:
        """Return the venue's current bid and ask; None, for the received ones, unless it is a market order."""
        last = int(np.searchsorted(self._ts_event, self._clock.timestamp_ns(), side="right")) - 1
        if last < 0 or order.order_type != OrderType.MARKET:
            return None
        book = OrderBook(instrument.id, BookType.L2_MBP)
        size = int(self._size[last]) * 10 ** (FIXED_PRECISION - instrument.size_precision)
        for number, (side, steps) in enumerate(((OrderSide.BUY, self._bid), (OrderSide.SELL, self._ask)), 1):
            price = int(steps[last]) * 10 ** (FIXED_PRECISION - instrument.price_precision)
            book.add(
                BookOrder(
                    side,
                    Price.from_raw(price, instrument.price_precision),
                    Quantity.from_raw(size, instrument.size_precision),
                    number,
                ),
                0,
                0,
            )
        return book
