"""One instrument of each kind, as venues define them."""

from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import AssetClass
from nautilus_trader.model.identifiers import InstrumentId, Symbol
from nautilus_trader.model.instruments import (
    CryptoPerpetual,
    CurrencyPair,
    Equity,
    FuturesContract,
    Instrument,
)
from nautilus_trader.model.objects import Currency, Price, Quantity

FEES: dict[str, Any] = {"maker_fee": Decimal("0.0001"), "taker_fee": Decimal("0.00075")}
STAMPS: dict[str, Any] = {"ts_event": 0, "ts_init": 0}


def perpetual(name: str, base: str, quote: str, settled: str, multiplier: str, size: str, inverse: bool) -> Instrument:
    return CryptoPerpetual(
        instrument_id=InstrumentId.from_str(f"{name}.VENUE"),
        raw_symbol=Symbol(name),
        base_currency=Currency.from_str(base),
        quote_currency=Currency.from_str(quote),
        settlement_currency=Currency.from_str(settled),
        is_inverse=inverse,
        price_precision=1,
        size_precision=Quantity.from_str(size).precision,
        price_increment=Price.from_str("0.5"),
        size_increment=Quantity.from_str(size),
        multiplier=Quantity.from_str(multiplier),
        **FEES,
        **STAMPS,
    )


def fx_pair() -> Instrument:
    return CurrencyPair(
        instrument_id=InstrumentId.from_str("USDJPY.VENUE"),
        raw_symbol=Symbol("USDJPY"),
        base_currency=Currency.from_str("USD"),
        quote_currency=Currency.from_str("JPY"),
        price_precision=3,
        size_precision=0,
        price_increment=Price.from_str("0.001"),
        size_increment=Quantity.from_int(1),
        **FEES,
        **STAMPS,
    )


def equity() -> Instrument:
    return Equity(
        instrument_id=InstrumentId.from_str("ACME.VENUE"),
        raw_symbol=Symbol("ACME"),
        currency=Currency.from_str("USD"),
        price_precision=2,
        price_increment=Price.from_str("0.01"),
        lot_size=Quantity.from_int(1),
        **FEES,
        **STAMPS,
    )


def future() -> Instrument:
    return FuturesContract(
        instrument_id=InstrumentId.from_str("ESZ9.VENUE"),
        raw_symbol=Symbol("ESZ9"),
        asset_class=AssetClass.INDEX,
        currency=Currency.from_str("USD"),
        price_precision=2,
        price_increment=Price.from_str("0.25"),
        multiplier=Quantity.from_int(50),
        lot_size=Quantity.from_int(1),
        underlying="ES",
        activation_ns=0,
        expiration_ns=4_000_000_000_000_000_000,
        **FEES,
        **STAMPS,
    )


CONTRACTS: dict[str, Instrument] = {
    "linear perpetual": perpetual("BTCUSDT", "BTC", "USDT", "USDT", "1", "0.001", inverse=False),
    "inverse perpetual": perpetual("XBTUSD", "BTC", "USD", "BTC", "1", "1", inverse=True),
    "COIN-M perpetual": perpetual("BTCUSD-PERP", "BTC", "USD", "BTC", "100", "1", inverse=True),
    "quanto perpetual": perpetual("ETHUSD", "ETH", "USD", "BTC", "0.000001", "1", inverse=False),
    "future": future(),
    "FX pair": fx_pair(),
    "equity": equity(),
}
"""Kind -> instrument."""
