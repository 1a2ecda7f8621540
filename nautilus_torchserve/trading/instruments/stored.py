"""Existing instrument definitions: NautilusTrader's JSON, or a catalog."""

import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import nautilus_trader.model.instruments as instrument_types
import pyarrow as pa
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.trades.trades import BadData

TYPES = ("CryptoFuture", "CryptoPerpetual", "CurrencyPair", "Equity", "FuturesContract", "Commodity", "Cfd")
"""Instrument classes that a backtest can trade: P&L is linear, inverse or quanto in the price."""
NUMBERS = (
    *("price_increment", "size_increment", "lot_size", "multiplier", "max_quantity", "min_quantity", "max_price"),
    *("min_price", "margin_init", "margin_maint", "maker_fee", "taker_fee"),
)
"""Fields that NautilusTrader's JSON holds as texts, so that no digit is lost."""
_LIMITS = tuple(f"{end}_{of}" for end in ("max", "min") for of in ("quantity", "notional", "price"))
_OPTIONAL: dict[str, Any] = {
    "ts_event": 0,
    "ts_init": 0,
    **dict.fromkeys((*_LIMITS, "lot_size", "tick_scheme_name", "isin", "exchange", "info")),
}
"""Optional fields: unknown, or without effect here."""


def read_json(path: Path) -> list[Instrument]:
    """Read the JSON of ``Instrument.to_dict``, one object or a list of them.

    Raises
    ------
    BadData
        Not readable, or no instrument that a backtest can trade.
    """
    try:
        content = json.loads(path.read_bytes(), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: expected NautilusTrader's JSON of an instrument, got {error}") from None
    objects = content if isinstance(content, list) else [content]
    if not objects:
        raise BadData(f"{path}: expected at least 1 instrument, got an empty list")
    return [_from_object(fields, f"{path}: instrument {number}") for number, fields in enumerate(objects, 1)]


def from_values(values: dict[str, Any], source: str) -> Instrument:
    """Make an instrument of the values of its ``to_dict``.

    Raises
    ------
    BadData
        A value is missing or invalid.
    """
    kind = getattr(instrument_types, values["type"])
    try:
        return kind.from_dict(values)
    except KeyError as error:
        raise BadData(f"{source}: expected a {values['type']} with {error.args[0]!r}, got none") from None
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise BadData(f"{source}: expected a {values['type']} as NautilusTrader writes it, got: {error}") from None


def to_values(instrument: Instrument) -> dict[str, Any]:
    """Return the values that `from_values` takes."""
    return type(instrument).to_dict(instrument)


def read_catalog(path: Path) -> list[Instrument]:
    """Return the instruments that a catalog defines, the newest definition of each.

    Raises
    ------
    BadData
        NautilusTrader cannot read them.
    """
    if not (path / "data").is_dir():
        return []
    newest: dict[str, Instrument] = {}
    try:
        instruments = ParquetDataCatalog(path).instruments()
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise BadData(
            f"{path}: expected instruments as NautilusTrader writes them, got what it cannot read: {error}"
        ) from error
    for instrument in instruments:
        known = newest.get(instrument.id.value)
        if known is None or instrument.ts_init >= known.ts_init:
            newest[instrument.id.value] = instrument
    return list(newest.values())


def tradable(instrument: Instrument, source: str) -> Instrument:
    """Refuse an instrument that a backtest cannot trade.

    Raises
    ------
    BadData
        An option, an index and the like, or a kind that NautilusTrader itself cannot charge a fee on.
    """
    kind = type(instrument).__name__
    if kind not in TYPES:
        raise BadData(f"{source}: expected {', '.join(TYPES[:-1])} or {TYPES[-1]}, got {instrument.id} of type {kind}")
    if instrument.is_inverse and not hasattr(instrument, "base_currency"):
        raise BadData(
            f"{source}: expected an inverse CryptoPerpetual, got {instrument.id} of type {kind}, whose fees "
            "NautilusTrader cannot compute; --instrument-definition with type CryptoPerpetual has the same P&L"
        )
    return instrument


def _from_object(fields: Any, source: str) -> Instrument:
    if not isinstance(fields, dict) or fields.get("type") not in TYPES:
        got = fields.get("type") if isinstance(fields, dict) else type(fields).__name__
        raise BadData(f'{source}: expected an object with "type" of {", ".join(TYPES)}, got {got!r}')
    values = {**_OPTIONAL, **{name: _plain(value) for name, value in fields.items()}}
    for name in NUMBERS:
        if values.get(name) is not None:
            values[name] = _number_text(values[name], f"{source}: {name}")
    if not isinstance(values.get("id"), str) or "." not in values["id"]:
        raise BadData(f'{source}: expected an "id" like BTCUSDT.BINANCE, got {values.get("id")!r}')
    return tradable(from_values(values, source), source)


def _plain(value: Any) -> Any:
    return value if not isinstance(value, Decimal) else f"{value:f}"


def _number_text(value: Any, source: str) -> str:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("nan")
    if isinstance(value, bool) or not number.is_finite():
        raise BadData(f"{source}: expected a number, got {value!r}")
    return f"{number:f}"
