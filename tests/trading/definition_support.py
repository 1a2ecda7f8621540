"""Small markets of any name, and instruments as venues define them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from nautilus_trader.model.enums import AssetClass
from nautilus_trader.model.identifiers import InstrumentId, Symbol
from nautilus_trader.model.instruments import CryptoPerpetual, CurrencyPair, Equity, FuturesContract, Instrument
from nautilus_trader.model.objects import Currency, Price, Quantity
from small_trades import MS, START

from nautilus_torchserve.market.trades import trades
from nautilus_torchserve.market.trades.trades import Trades


def trades_at(
    prices: Sequence[str], symbol: str = "BTCUSDT", venue: str = "BINANCE", sizes: Sequence[str] = ("1",)
) -> Trades:
    """Trades at these prices, one each 100 ms, buyers and sellers in turn; the last size stands for all that follow."""
    count = len(prices)
    price, price_precision = _steps(prices)
    size, size_precision = _steps([*sizes, *[sizes[-1]] * (count - len(sizes))])
    ts = START + 100 * MS * np.arange(1, count + 1, dtype=np.int64)
    return Trades(
        instrument=trades.Instrument(symbol, venue, price_precision, size_precision),
        source="made.csv",
        simulated=False,
        ts_event=ts,
        ts_init=ts,
        price=price,
        size=size,
        side=np.where(np.arange(count) % 2, 1, -1).astype(np.int8),
        trade_id=np.arange(count).astype(np.str_),
    )


def _steps(texts: Sequence[str]) -> tuple[Any, int]:
    values = [Decimal(text).normalize() for text in texts]
    precision = max(0, *(-int(value.as_tuple().exponent) for value in values))
    return np.array([int(value.scaleb(precision)) for value in values], dtype=np.int64), precision


def equity(name: str = "AAPL.XNAS") -> Equity:
    return Equity(
        InstrumentId.from_str(name),
        Symbol(name.split(".")[0]),
        Currency.from_str("USD"),
        2,
        Price.from_str("0.01"),
        Quantity.from_int(1),
        0,
        0,
    )


def fx_pair(name: str = "EURUSD.SIM") -> CurrencyPair:
    return CurrencyPair(
        InstrumentId.from_str(name),
        Symbol("EURUSD"),
        Currency.from_str("EUR"),
        Currency.from_str("USD"),
        5,
        0,
        Price.from_str("0.00001"),
        Quantity.from_int(1000),
        0,
        0,
        margin_init=Decimal("0.03"),
        margin_maint=Decimal("0.03"),
        taker_fee=Decimal("0.00002"),
    )


def future(name: str = "ESH5.GLBX", expiration_ns: int = 2**62) -> FuturesContract:
    return FuturesContract(
        InstrumentId.from_str(name),
        Symbol("ESH5"),
        AssetClass.INDEX,
        Currency.from_str("USD"),
        2,
        Price.from_str("0.25"),
        Quantity.from_int(50),
        Quantity.from_int(1),
        "ES",
        0,
        expiration_ns,
        0,
        0,
        margin_init=Decimal("0.05"),
        margin_maint=Decimal("0.04"),
    )


def perpetual_of(
    name: str, base: str, quote: str, settlement: str, inverse: bool, multiplier: str = "1"
) -> CryptoPerpetual:
    return CryptoPerpetual(
        InstrumentId.from_str(name),
        Symbol(name.split(".")[0]),
        Currency.from_str(base),
        Currency.from_str(quote),
        Currency.from_str(settlement),
        inverse,
        1,
        0,
        Price.from_str("0.5"),
        Quantity.from_int(1),
        0,
        0,
        multiplier=Quantity.from_str(multiplier),
        taker_fee=Decimal("0.00075"),
        maker_fee=Decimal("-0.00025"),
    )


DEFINED: dict[str, Instrument] = {
    "equity": equity(),
    "fx": fx_pair(),
    "future": future(),
    "inverse": perpetual_of("XBTUSD.BITMEX", "BTC", "USD", "BTC", inverse=True),
    "quanto": perpetual_of("ETHUSD.BITMEX", "ETH", "USD", "BTC", inverse=False, multiplier="0.000001"),
    "linear": perpetual_of("BTCUSDT-PERP.BINANCE", "BTC", "USDT", "USDT", inverse=False),
}
"""One of each kind."""
