"""Drafts of instruments from the contract table, from pairs, and from options."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import AssetClass
from nautilus_trader.model.identifiers import Symbol
from nautilus_trader.model.instruments import (
    Cfd,
    CryptoFuture,
    CryptoPerpetual,
    CurrencyPair,
    Equity,
    FuturesContract,
    Instrument,
)
from nautilus_trader.model.objects import Currency, Price, Quantity

from nautilus_torchserve.market.trades import trades
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.instruments.conform import PRICE_COLUMNS, MarketData, off_tick
from nautilus_torchserve.trading.instruments.contract_table import SPOT, Contract, is_spot, reads_no_names
from nautilus_torchserve.trading.instruments.names import engine_id
from nautilus_torchserve.trading.instruments.options import InstrumentOptions, decimals
from nautilus_torchserve.trading.instruments.symbols import COINS, FIAT, Pair, named_pair, read_pair

PROPERTIES = ("type", "tick_size", "lot_size", "multiplier", "margin", "currency", "fee")
"""Values of an instrument's definition."""
DEFAULT_FEE_BPS = 0.5
"""Fee where neither an option nor a definition gives one."""
NEVER_NS = 2**62
"""Expiry of a future whose symbol does not name it."""
DECIMALS = "the decimals of the data"
NOT_GIVEN = "assumed, as nothing says otherwise"
ASSUMED = "the symbol; a perpetual is assumed, as neither symbol nor venue says that it is spot"
REMEDY = "--instrument-definition (NautilusTrader's JSON, a catalog, or a contract of the table) says what it is"


@dataclass(frozen=True)
class Draft:
    """An instrument before options change it."""

    instrument: Instrument
    origins: Mapping[str, str]
    """Property -> its source."""


def all_from(source: str) -> dict[str, str]:
    """Return the origins of an instrument that one source defines."""
    return dict.fromkeys(PROPERTIES, source)


def of_contract(data: MarketData, contract: Contract) -> Draft:
    """Return a contract of the table, in the coarsest of its ticks that all prices fit."""
    row = f"contract table: {contract.source.partition(':')[0]}"
    origins = {**all_from(row), "margin": NOT_GIVEN, "fee": NOT_GIVEN}
    tick = _data_tick(data.instrument)
    if contract.ticks:
        tick = next((candidate for candidate in contract.ticks if _fits(data, candidate)), contract.ticks[-1])
    else:
        origins["tick_size"] = DECIMALS
    if contract.kind == "listed":
        common = _common(data.instrument, tick, Decimal(1))
        future = _listed_future(common, contract.asset_class, contract.quote, contract.base, contract.multiplier)
        return Draft(future, origins)
    origins["lot_size"] = DECIMALS
    terms = {
        "quote_currency": Currency.from_str(contract.quote),
        "settlement_currency": Currency.from_str(contract.settlement),
        "is_inverse": contract.inverse,
        "multiplier": _quantity(contract.multiplier),
        **_common(data.instrument, tick, _data_lot(data.instrument)),
    }
    base = Currency.from_str(contract.base)
    if contract.kind == "perpetual":
        return Draft(CryptoPerpetual(base_currency=base, **terms), origins)
    expiry_ns = contract.expiry_ns or NEVER_NS
    return Draft(CryptoFuture(underlying=base, activation_ns=0, expiration_ns=expiry_ns, **terms), origins)


def of_options(instrument: trades.Instrument, options: InstrumentOptions) -> Draft:
    """Return the instrument that a symbol and options define: a pair, a future, a share, or the like.

    Raises
    ------
    BadData
        They do not say enough.
    """
    symbol, name = instrument.symbol, instrument.instrument_id
    unread = reads_no_names(instrument.venue)
    terms_given = options.multiplier is not None or options.inverse
    if unread.startswith("sizes") and not terms_given:
        raise BadData(f"{name}: expected a known contract, as {unread}; {REMEDY}, or --multiplier and --inverse do")
    named = symbol.upper().removesuffix(SPOT)
    if options.currency is None:
        pair = None if unread and not terms_given else read_pair(named, instrument.venue)
    else:
        pair = _quoted_in(named, options.currency)
    origins = {
        **all_from(NOT_GIVEN),
        "type": "the symbol" if pair else "the options",
        "tick_size": DECIMALS,
        "lot_size": DECIMALS,
        "currency": "the symbol" if options.currency is None else "--currency",
    }
    if pair is not None:
        spot = is_spot(symbol, instrument.venue) and not terms_given
        draft = pair_instrument(instrument, pair, options.inverse, spot)
        if isinstance(draft, CryptoPerpetual) and not terms_given:
            origins["type"] = ASSUMED
        return Draft(draft, origins)
    if options.inverse:
        raise BadData(f"{name}: expected a pair like BTCUSD for --inverse, got {symbol!r}; {REMEDY}")
    if options.currency is None:
        why = unread or "its symbol does not say what it is quoted in"
        raise BadData(f"{name}: expected a known instrument, as {why}; {REMEDY}, or --currency does")
    return Draft(_security(instrument, options.currency, options), origins)


def pair_instrument(instrument: trades.Instrument, pair: Pair, inverse: bool = False, spot: bool = False) -> Instrument:
    """Return a pair that can be sold short without margin; spot and states' currencies are a `CurrencyPair`."""
    common = _common(instrument, _data_tick(instrument), _data_lot(instrument))
    base, quote = Currency.from_str(pair.base), Currency.from_str(pair.quote)
    if spot or ({pair.base, pair.quote} <= FIAT and not inverse):
        return CurrencyPair(base_currency=base, quote_currency=quote, **common)
    return CryptoPerpetual(
        base_currency=base,
        quote_currency=quote,
        settlement_currency=base if inverse else quote,
        is_inverse=inverse,
        **common,
    )


def fee_values(fee_bps: float | None) -> dict[str, str]:
    """Return the values of an instrument's fees, given bps; None takes `DEFAULT_FEE_BPS`."""
    fee = Decimal(str(DEFAULT_FEE_BPS if fee_bps is None else fee_bps)) / 10_000
    return {"maker_fee": f"{fee:f}", "taker_fee": f"{fee:f}"}


def _quoted_in(symbol: str, currency: str) -> Pair | None:
    """Return the pair of a symbol that ends in this currency, or that begins with a coin, as ``BTC-PERP`` does,
    or with this currency, as ``KRW-BTC`` does.
    """
    first, *others = re.split("[-_/]", symbol)
    if first == currency and len(others) == 1:
        return named_pair(others[0], currency)
    parts = [part for part in re.split("[-_/]", symbol.removesuffix(currency)) if part]
    if symbol.endswith(currency) and parts:
        return named_pair(parts[-1], currency)
    return named_pair(parts[0], currency) if len(parts) > 1 and parts[0] in COINS else None


def _security(instrument: trades.Instrument, currency: str, options: InstrumentOptions) -> Instrument:
    """Return a future where there is a multiplier, a share where sizes are whole, else a contract for difference."""
    lot = _data_lot(instrument) if options.lot_size is None else options.lot_size
    common = _common(instrument, _data_tick(instrument), lot)
    if options.multiplier is not None and decimals(lot):
        return pair_instrument(instrument, Pair(re.split("[-_/]", instrument.symbol.upper())[0], currency))
    if options.multiplier is not None:
        common = _common(instrument, _data_tick(instrument), Decimal(1))
        return _listed_future(common, "ALTERNATIVE", currency, instrument.symbol, options.multiplier)
    if decimals(lot):
        return Cfd(asset_class=AssetClass.ALTERNATIVE, quote_currency=Currency.from_str(currency), **common)
    common.pop("size_precision"), common.pop("size_increment")
    return Equity(currency=Currency.from_str(currency), **common)


def _listed_future(
    common: dict[str, Any], asset_class: str, currency: str, underlying: str, multiplier: Decimal
) -> FuturesContract:
    common.pop("size_precision"), common.pop("size_increment")
    return FuturesContract(
        asset_class=getattr(AssetClass, asset_class),
        currency=Currency.from_str(currency),
        multiplier=_quantity(multiplier),
        underlying=underlying,
        activation_ns=0,
        expiration_ns=NEVER_NS,
        **common,
    )


def _common(instrument: trades.Instrument, tick: Decimal, lot: Decimal) -> dict[str, Any]:
    """Return arguments that all kinds of instruments share; those of the size only some."""
    tick_precision = decimals(tick)
    return {
        "instrument_id": engine_id(instrument.symbol, instrument.venue),
        "raw_symbol": Symbol(instrument.symbol),
        "price_precision": tick_precision,
        "price_increment": Price.from_str(f"{tick:.{tick_precision}f}"),
        "size_precision": decimals(lot),
        "size_increment": _quantity(lot),
        "lot_size": _quantity(lot),
        "ts_event": 0,
        "ts_init": 0,
    }


def _quantity(value: Decimal) -> Quantity:
    return Quantity.from_str(f"{value:.{decimals(value)}f}")


def _data_tick(instrument: trades.Instrument) -> Decimal:
    return Decimal(1).scaleb(-instrument.price_precision)


def _data_lot(instrument: trades.Instrument) -> Decimal:
    return Decimal(1).scaleb(-instrument.size_precision)


def _fits(data: MarketData, tick: Decimal) -> bool:
    precision = data.instrument.price_precision
    return not any(off_tick(getattr(data, name), precision, tick).any() for name in PRICE_COLUMNS[type(data)])
