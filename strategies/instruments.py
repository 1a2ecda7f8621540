"""Arrays of trades as NautilusTrader knows them: an instrument, a catalog of trade ticks."""

from decimal import Decimal
from pathlib import Path

import numpy as np
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import FIXED_PRECISION, Currency, Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from numpy.typing import NDArray

from market.quotes import implied_quotes
from market.trades import BadData, Instrument, Trades
from strategies.representable import check_price, check_quantity

QUOTE_CURRENCIES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "GBP", "JPY", "BTC", "ETH", "BNB")
"""What a symbol may end in."""
PERPETUAL = "-PERP"
"""What a symbol without a quote currency may end in."""
_AGGRESSORS = {1: AggressorSide.BUYER, -1: AggressorSide.SELLER, 0: AggressorSide.NO_AGGRESSOR}


def split_symbol(symbol: str, currency: str | None = None) -> tuple[str, str]:
    """Base and quote currency of ``BTCUSDT``; ``BTC-PERP`` is quoted in USD.

    Parameters
    ----------
    currency : str, optional
        What it is quoted in where the symbol does not say, as ``AAPL`` does not.

    Raises
    ------
    BadData
        No currency is given, and the symbol ends in no known one.
    """
    if currency is not None:
        return symbol.removesuffix(currency) or symbol, currency
    if symbol.endswith(PERPETUAL) and symbol != PERPETUAL:
        return symbol.removesuffix(PERPETUAL), "USD"
    for quote in sorted(QUOTE_CURRENCIES, key=len, reverse=True):
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    known = ", ".join((*QUOTE_CURRENCIES, PERPETUAL))
    raise BadData(f"a symbol ending in one of {known}, or its currency, expected, was {symbol}")


def perpetual(instrument: Instrument, fee_bps: float, currency: str | None = None) -> CryptoPerpetual:
    """The instrument as a linear perpetual, which can be sold short; it asks for no margin.

    Parameters
    ----------
    fee_bps : float
        Fee on each fill's notional, in bps.
    currency : str, optional
        See `split_symbol`.

    Raises
    ------
    BadData
        It is not known what the instrument is quoted in.
    """
    base, quote = split_symbol(instrument.symbol, currency)
    fee = Decimal(str(fee_bps)) / 10_000
    size_step = Quantity.from_raw(10 ** (FIXED_PRECISION - instrument.size_precision), instrument.size_precision)
    return CryptoPerpetual(
        instrument_id=InstrumentId.from_str(instrument.instrument_id),
        raw_symbol=Symbol(instrument.symbol),
        base_currency=Currency.from_str(base),
        quote_currency=Currency.from_str(quote),
        settlement_currency=Currency.from_str(quote),
        is_inverse=False,
        price_precision=instrument.price_precision,
        size_precision=instrument.size_precision,
        price_increment=Price.from_raw(
            10 ** (FIXED_PRECISION - instrument.price_precision), instrument.price_precision
        ),
        size_increment=size_step,
        lot_size=size_step,
        maker_fee=fee,
        taker_fee=fee,
        ts_event=0,
        ts_init=0,
    )


def trade_ticks(trades: Trades) -> list[TradeTick]:
    """The trades as ticks; whole steps stay exact.

    Raises
    ------
    BadData
        A price or a size that NautilusTrader cannot hold.
    """
    instrument = trades.instrument
    instrument_id = InstrumentId.from_str(instrument.instrument_id)
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    check_price(trades.source, "price", trades.price, price_precision)
    check_quantity(trades.source, "size", trades.size, size_precision)
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
            TradeId(trade_id),
            ts_event,
            ts_init,
        )
        for price, size, side, trade_id, ts_event, ts_init in rows
    ]


def quote_ticks(trades: Trades) -> list[QuoteTick]:
    """The quotes that the trades imply, one after each trade and known with it; sizes are the trade's."""
    bids, asks = implied_quotes(trades)
    return to_quote_ticks(trades.instrument, bids, asks, trades.size, trades.ts_event, trades.ts_init)


def to_quote_ticks(
    instrument: Instrument,
    bid: NDArray[np.int64],
    ask: NDArray[np.int64],
    size: NDArray[np.int64],
    ts_event: NDArray[np.int64],
    ts_init: NDArray[np.int64],
) -> list[QuoteTick]:
    """Quotes [n] as ticks; prices and sizes in the instrument's smallest steps, the same size on both sides."""
    instrument_id = InstrumentId.from_str(instrument.instrument_id)
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    price_step = 10 ** (FIXED_PRECISION - price_precision)
    size_step = 10 ** (FIXED_PRECISION - size_precision)
    columns = (bid, ask, size, ts_event, ts_init)
    return [
        QuoteTick.from_raw(
            instrument_id,
            bid * price_step,
            ask * price_step,
            price_precision,
            price_precision,
            size * size_step,
            size * size_step,
            size_precision,
            size_precision,
            ts_event,
            ts_init,
        )
        for bid, ask, size, ts_event, ts_init in zip(*(column.tolist() for column in columns), strict=True)
    ]


def write_catalog(trades: Trades, instrument: CryptoPerpetual, folder: Path) -> None:
    """Write instrument, trades and implied quotes as a `ParquetDataCatalog`, which a `BacktestNode` reads."""
    catalog = ParquetDataCatalog(folder)
    catalog.write_data([instrument])
    catalog.write_data(quote_ticks(trades))
    catalog.write_data(trade_ticks(trades))
