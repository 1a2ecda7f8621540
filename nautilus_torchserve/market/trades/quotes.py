"""Bid and ask implied by trades, for backtests on trades alone.

An aggressive buyer paid the ask, an aggressive seller got the bid. Filling orders at the last
trade's price instead would let a strategy sell at the ask whenever the last aggressor was
a buyer: a profit of half a spread that was not attainable.
"""

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.trades.trades import Trades


def implied_quotes(trades: Trades, tick: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return bid and ask after each trade: the prices of the last seller and the last buyer.

    Whichever side traded longer ago is moved out of the way when the price has passed it. Between
    trades a real book closes up again, which this does not see: on the first four minutes of the
    BTCUSDT perpetual's trades of 2020-02-22 it made crossing the spread 0.3 to 0.5 bps dearer than the real
    quotes, where the last trade's price made it 0.15 bps too cheap.

    Parameters
    ----------
    tick : int
        The instrument's smallest price change, in steps of 10**-price_precision.

    Returns
    -------
    bid, ask : int64 [n]
        In steps of 10**-price_precision, at least a tick apart; uses trades up to each one only.
    """
    price, side = trades.price, trades.side
    here = np.arange(len(price))
    last_buy = np.maximum.accumulate(np.where(side > 0, here, -1))
    last_sell = np.maximum.accumulate(np.where(side < 0, here, -1))
    ask = np.where(last_buy >= 0, price[last_buy], price)
    bid = np.where(last_sell >= 0, price[last_sell], price)
    bid, ask = np.minimum(bid, price), np.maximum(ask, price)
    # At least one tick apart; the side that has just traded stays where it is.
    touching = bid == ask
    bid = np.where(touching & (side >= 0), bid - tick, bid)
    ask = np.where(touching & (side <= 0), ask + tick, ask)
    return bid, ask
