"""Conversion of trades and quotes to NautilusTrader's data: an instrument, a catalog of ticks."""

import hashlib
from pathlib import Path

import numpy as np
from nautilus_trader.model.data import BookOrder, OrderBookDepth10, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, TradeId
from nautilus_trader.model.instruments import Instrument as NautilusInstrument
from nautilus_trader.model.objects import FIXED_PRECISION, PRICE_MAX, QUANTITY_MAX, Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from numpy.typing import NDArray

from nautilus_torchserve.market.quotes.quotes import ARRAYS, LEVELS, Depth, Quotes
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades, decimal_text, implied_quotes
from nautilus_torchserve.trading.instruments.conform import tick_steps
from nautilus_torchserve.trading.instruments.drafts import fee_values, of_options
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.instruments.stored import from_values, to_values

LONGEST_TRADE_ID = 36
"""Characters of NautilusTrader's trade ids."""
_AGGRESSORS = {1: AggressorSide.BUYER, -1: AggressorSide.SELLER, 0: AggressorSide.NO_AGGRESSOR}


def perpetual(instrument: Instrument, fee_bps: float | None = None) -> NautilusInstrument:
    """Return a pair whose symbol names its currencies, without margin; see `trading.instruments.resolve` for others.

    Parameters
    ----------
    fee_bps : float, optional
        Fee on each fill's notional, in bps; None takes
        `trading.instruments.drafts.DEFAULT_FEE_BPS`.

    Raises
    ------
    BadData
        The symbol does not say what the instrument is.
    """
    pair = to_values(of_options(instrument, InstrumentOptions()).instrument)
    return from_values(pair | fee_values(fee_bps), instrument.instrument_id)


def trade_ticks(trades: Trades) -> list[TradeTick]:
    """Convert trades to ticks; whole steps stay exact.

    Raises
    ------
    BadData
        A price or a size that NautilusTrader cannot hold.
    """
    instrument = trades.instrument
    instrument_id = InstrumentId.from_str(instrument.instrument_id)
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    check_range(trades.source, "price", trades.price, price_precision, PRICE_MAX)
    check_range(trades.source, "size", trades.size, size_precision, QUANTITY_MAX)
    price_step = 10 ** (FIXED_PRECISION - price_precision)  # Python integers: raw values are 128 bits wide
    size_step = 10 ** (FIXED_PRECISION - size_precision)
    rows = zip(
        trades.price.tolist(),
        trades.size.tolist(),
        trades.side.tolist(),
        trades.trade_id.tolist(),
        trades.ts_event.tolist(),
        trades.ts_init.tolist(),
        strict=True,
    )
    return [
        TradeTick.from_raw(
            instrument_id,
            price * price_step,
            price_precision,
            size * size_step,
            size_precision,
            _AGGRESSORS[side],
            engine_trade_id(trade_id),
            ts_event,
            ts_init,
        )
        for price, size, side, trade_id, ts_event, ts_init in rows
    ]


def engine_trade_id(trade_id: str) -> TradeId:
    """Return a venue's id for the engine; the digest of one that is not 1 to 36 ASCII characters."""
    if len(trade_id) <= LONGEST_TRADE_ID and trade_id.isascii() and trade_id.isprintable() and not trade_id.isspace():
        return TradeId(trade_id)
    return TradeId(hashlib.sha256(trade_id.encode()).hexdigest()[:LONGEST_TRADE_ID])


def implied(trades: Trades, tick: int = 1) -> Quotes:
    """Return the quotes that the trades imply, one after each trade and known with it; sizes are the trade's.

    Parameters
    ----------
    tick : int
        The instrument's, in steps of 10**-price_precision.
    """
    bid, ask = implied_quotes(trades, tick)
    return Quotes(
        instrument=trades.instrument,
        source=trades.source,
        ts_event=trades.ts_event,
        ts_init=trades.ts_init,
        bid_price=bid,
        ask_price=ask,
        bid_size=trades.size,
        ask_size=trades.size,
    )


def quote_ticks(trades: Trades, tick: int = 1) -> list[QuoteTick]:
    """Return the quotes that the trades imply, see `implied`."""
    return to_quote_ticks(implied(trades, tick))


def to_quote_ticks(quotes: Quotes) -> list[QuoteTick]:
    """Convert quotes to ticks, see `check_quotes`; whole steps stay exact."""
    instrument = quotes.instrument
    instrument_id = InstrumentId.from_str(instrument.instrument_id)
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    price_step = 10 ** (FIXED_PRECISION - price_precision)
    size_step = 10 ** (FIXED_PRECISION - size_precision)
    columns = (getattr(quotes, name).tolist() for name in ARRAYS)
    return [
        QuoteTick.from_raw(
            instrument_id,
            bid * price_step,
            ask * price_step,
            price_precision,
            price_precision,
            bid_size * size_step,
            ask_size * size_step,
            size_precision,
            size_precision,
            ts_event,
            ts_init,
        )
        for ts_event, ts_init, bid, ask, bid_size, ask_size in zip(*columns, strict=True)
    ]


def to_depth10(depth: Depth) -> list[OrderBookDepth10]:
    """Convert the levels of an order book, see `check_quotes`; whole steps stay exact."""
    instrument = depth.instrument
    instrument_id = InstrumentId.from_str(instrument.instrument_id)
    sides = (OrderSide.BUY, depth.bid_prices, depth.bid_sizes), (OrderSide.SELL, depth.ask_prices, depth.ask_sizes)
    bids, asks = (
        [
            [book_order(side, price, size, instrument) for price, size in zip(*row, strict=True)]
            for row in zip(prices.tolist(), sizes.tolist(), strict=True)
        ]
        for side, prices, sizes in sides
    )
    counts = [0] * LEVELS
    return [
        OrderBookDepth10(instrument_id, *levels, counts, counts, 0, 0, ts_event, ts_init)
        for *levels, ts_event, ts_init in zip(bids, asks, depth.ts_event.tolist(), depth.ts_init.tolist(), strict=True)
    ]


def book_order(side: OrderSide, price: int, size: int, instrument: Instrument, number: int = 0) -> BookOrder:
    """Return a level of an order book, given in the instrument's steps; without a price one that is not there."""
    level = Price.from_raw(price * 10 ** (FIXED_PRECISION - instrument.price_precision), instrument.price_precision)
    quantity = Quantity.from_raw(size * 10 ** (FIXED_PRECISION - instrument.size_precision), instrument.size_precision)
    return BookOrder(side if price else OrderSide.NO_ORDER_SIDE, level, quantity, number)


def check_quotes(quotes: Quotes) -> Quotes:
    """Return quotes; refuse prices and sizes that NautilusTrader cannot hold.

    Raises
    ------
    BadData
    """
    instrument = quotes.instrument
    for name in (name for name in quotes.arrays if "price" in name):
        check_range(quotes.source, name, getattr(quotes, name), instrument.price_precision, PRICE_MAX)
    for name in (name for name in quotes.arrays if "size" in name):
        check_range(quotes.source, name, getattr(quotes, name), instrument.size_precision, QUANTITY_MAX)
    return quotes


def write_catalog(trades: Trades, instrument: NautilusInstrument, folder: Path, quotes: Quotes | None = None) -> None:
    """Write instrument, trades and quotes as a `ParquetDataCatalog`, which a `BacktestNode` reads.

    Parameters
    ----------
    quotes : Quotes, optional
        The venue's; None: those that the trades imply.
    """
    catalog = ParquetDataCatalog(folder)
    catalog.write_data([instrument])
    catalog.write_data(to_quote_ticks(implied(trades, tick_steps(instrument)) if quotes is None else quotes))
    catalog.write_data(trade_ticks(trades))


def check_range(source: str, name: str, steps: NDArray[np.int64], precision: int, most: float) -> None:
    """Refuse prices or sizes that a NautilusTrader ``Price`` or ``Quantity`` cannot hold.

    Parameters
    ----------
    source, name : str
        Where they came from and what they are, for messages.
    steps : int64 [n]
        In steps of 10**-precision.
    most : float
        ``PRICE_MAX`` or ``QUANTITY_MAX``.

    Raises
    ------
    BadData
    """
    if precision > FIXED_PRECISION:
        raise BadData(f"{source}: expected {name} of at most {FIXED_PRECISION} decimals, got {precision}")
    largest = int(steps.max(initial=0))
    if largest >= int(most) * 10**precision:
        got = decimal_text(largest, precision)
        raise BadData(f"{source}: expected {name} below {most:g} (NautilusTrader's largest), got {got}")
