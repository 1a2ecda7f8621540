"""Resolution of market data to a NautilusTrader instrument, with the source of each property."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.model.instruments import Instrument
from nautilus_trader.persistence.funcs import urisafe_identifier

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.conform import MarketData
from nautilus_torchserve.trading.instruments.contract_table import Contract, by_name, find_contract, known_names
from nautilus_torchserve.trading.instruments.drafts import (
    NEVER_NS,
    NOT_GIVEN,
    Draft,
    all_from,
    fee_values,
    of_contract,
    of_options,
)
from nautilus_torchserve.trading.instruments.names import engine_id
from nautilus_torchserve.trading.instruments.options import InstrumentOptions, decimals
from nautilus_torchserve.trading.instruments.stored import from_values, read_catalog, read_json, to_values, tradable
from nautilus_torchserve.trading.instruments.symbols import named_pair


@dataclass(frozen=True)
class Definition:
    """An instrument as a run trades it."""

    instrument: Instrument
    """By a name that NautilusTrader can trade; see `trading.instruments.names`."""
    origins: Mapping[str, str]
    """Property -> its source: an option, a file, the contract table, the symbol or the data."""

    @property
    def fee_bps(self) -> float:
        """Fee on each fill that takes liquidity, bps of its value."""
        return float(self.instrument.taker_fee * 10_000)

    @property
    def settlement(self) -> str:
        """Code of the currency that profit is paid in."""
        return self.instrument.get_cost_currency().code

    def values(self) -> dict[str, str]:
        """Return property -> value, for pages and JSON."""
        instrument = self.instrument
        quanto = getattr(instrument, "is_quanto", False)
        shape = "inverse" if instrument.is_inverse else "quanto" if quanto else "linear"
        return {
            "type": f"{type(instrument).__name__}, {shape}",
            "tick_size": str(instrument.price_increment),
            "lot_size": str(instrument.size_increment),
            "multiplier": str(instrument.multiplier),
            "margin": f"{instrument.margin_init:f}",
            "currency": f"quoted in {instrument.quote_currency}, settled in {self.settlement}",
            "fee": f"{self.fee_bps:g} bps",
        }

    def as_dict(self) -> dict[str, Any]:
        """Return each property with its value and source, in plain JSON types."""
        properties = {name: {"value": value, "from": self.origins[name]} for name, value in self.values().items()}
        return {"engine_id": self.instrument.id.value, **properties}


def resolve(data: MarketData, options: InstrumentOptions, fee_bps: float | None = None) -> Definition:
    """Resolve the instrument of some market data.

    The first of these that knows it: ``options.instrument_definition``, the catalog that the data came from, the table
    of common contracts, the symbol where it is a pair that can be read in one way, the options alone. Single options
    change its properties.

    Parameters
    ----------
    fee_bps : float, optional
        Fee on each fill, bps of its value; None takes the definition's, else `drafts.DEFAULT_FEE_BPS`.

    Raises
    ------
    BadData
        Nothing says what the instrument is, or a definition does not fit the data.
    BadSetting
        An option that the instrument does not have.
    """
    return resolve_all([data], options, fee_bps)[0]


def resolve_all(
    data: Sequence[MarketData], options: InstrumentOptions, fee_bps: float | None = None
) -> list[Definition]:
    """Resolve each instrument of a run; single options hold for all of them."""
    for item in data:
        engine_id(item.instrument.symbol, item.instrument.venue)  # refuses names that cannot be traded
    sources = {source: _read(source) for source in options.instrument_definition}
    return [
        _finish(item, _explicit(item, position, len(data), sources) or _inferred(item, options), options, fee_bps)
        for position, item in enumerate(data)
    ]


def _read(source: str) -> Contract | list[Instrument]:
    """Return the definitions that a value of ``--instrument-definition`` names."""
    path = Path(source)
    if path.is_dir():
        if not (instruments := read_catalog(path)):
            raise BadData(f"{source}: expected a catalog that defines instruments, got none")
        return instruments
    if path.is_file():
        return read_json(path)
    if (contract := by_name(source)) is None:
        raise BadData(
            f"{source}: expected a JSON file, a catalog, or a known contract ({', '.join(known_names())}), got none"
        )
    return contract


def _explicit(
    data: MarketData, position: int, count: int, sources: Mapping[str, Contract | list[Instrument]]
) -> Draft | None:
    """Return the given definition: by the data's name, else in the order of the data."""
    name = data.instrument.instrument_id
    for source, read in sources.items():
        if not isinstance(read, Contract) and (instrument := _named(read, name)) is not None:
            return Draft(instrument, all_from(source))
    if not sources:
        return None
    if len(sources) == count:
        source, read = list(sources.items())[position]
        if isinstance(read, Contract):
            return of_contract(data, read)
        if len(read) == 1:
            return Draft(read[0], all_from(f"{source}, {read[0].id}"))
    raise BadData(f"{data.source}: expected a definition of {name}, got those of {', '.join(_names(sources.values()))}")


def _inferred(data: MarketData, options: InstrumentOptions) -> Draft:
    """Return the definition of the data's catalog, the table, the symbol or options."""
    instrument = data.instrument
    if data.catalog is not None:
        defined = _named(read_catalog(data.catalog), instrument.instrument_id)
        if defined is not None:
            return Draft(defined, all_from(f"catalog {data.catalog.name}"))
    contract = find_contract(instrument.symbol, instrument.venue)
    return of_options(instrument, options) if contract is None else of_contract(data, contract)


def _finish(data: MarketData, draft: Draft, options: InstrumentOptions, fee_bps: float | None) -> Definition:
    """Apply the options, and name the instrument as the engine can."""
    name = data.instrument.instrument_id
    defined = tradable(draft.instrument, name)
    origins = dict(draft.origins)
    quote = defined.quote_currency.code
    if options.currency is not None and named_pair(quote, options.currency).quote != quote:
        raise BadSetting(f"{name}: expected --currency {quote}, as it is defined, got {options.currency}")
    if options.inverse and not defined.is_inverse:
        raise BadSetting(f"{name}: expected no --inverse, as it is defined as a linear {type(defined).__name__}")
    values = to_values(defined) | {"id": engine_id(data.instrument.symbol, data.instrument.venue).value}
    for option, change in (
        ("tick_size", _tick_values),
        ("lot_size", _lot_values),
        ("multiplier", _multiplier_values),
        ("margin", _margin_values),
    ):
        value = getattr(options, option)
        if value is not None:
            values |= change(value, values, data)
            origins[option] = f"--{option.replace('_', '-')}"
    if fee_bps is not None or origins["fee"] == NOT_GIVEN:
        values |= fee_values(fee_bps)
        origins["fee"] = NOT_GIVEN if fee_bps is None else "--fee-bps"
    unchanged = values == to_values(defined)
    definition = Definition(defined if unchanged else from_values(values, name), origins)
    _check_life(data, definition.instrument)
    return definition


def _tick_values(tick: Decimal, values: Mapping[str, Any], data: MarketData) -> dict[str, Any]:
    precision = decimals(tick)
    return {"price_increment": f"{tick:.{precision}f}", "price_precision": precision, "tick_scheme_name": None}


def _lot_values(lot: Decimal, values: Mapping[str, Any], data: MarketData) -> dict[str, Any]:
    kind = values["type"]
    if kind in ("Equity", "FuturesContract"):
        if decimals(lot):
            raise BadSetting(f"{data.instrument.instrument_id}: expected a whole --lot-size for a {kind}, got {lot}")
        return {"lot_size": f"{lot:.0f}"}
    # A size of a trade or quote is given in the instrument's decimals, so that these are never fewer than the data's.
    precision = max(decimals(lot), 0 if isinstance(data, Bars) else data.instrument.size_precision)
    text = f"{lot:.{precision}f}"
    return {"size_increment": text, "size_precision": precision, "lot_size": text}


def _multiplier_values(multiplier: Decimal, values: Mapping[str, Any], data: MarketData) -> dict[str, Any]:
    if "multiplier" not in values:
        kind = values["type"]
        raise BadSetting(f"{data.instrument.instrument_id}: expected no --multiplier for a {kind}, got {multiplier}")
    return {"multiplier": f"{multiplier:.{decimals(multiplier)}f}"}


def _margin_values(margin: Decimal, values: Mapping[str, Any], data: MarketData) -> dict[str, Any]:
    return {"margin_init": f"{margin:f}", "margin_maint": f"{margin:f}"}


def _check_life(data: MarketData, instrument: Instrument) -> None:
    """Refuse data from before a contract's first or after its last moment: no order would be accepted then."""
    begin_ns, end_ns = getattr(instrument, "activation_ns", 0), getattr(instrument, "expiration_ns", NEVER_NS)
    if data.ts_event[0] < begin_ns or data.ts_event[-1] >= end_ns:
        life, period = (f"{_utc(a)} to {_utc(b)}" for a, b in ((begin_ns, end_ns), data.ts_event[[0, -1]].tolist()))
        raise BadData(f"{data.source}: expected data within the life of {instrument.id}, {life}, got {period}")


def _named(instruments: Sequence[Instrument], name: str) -> Instrument | None:
    """Return the instrument of that name; catalogs leave out slashes in it."""
    return next(
        (
            instrument
            for instrument in instruments
            if name in (instrument.id.value, urisafe_identifier(instrument.id.value))
        ),
        None,
    )


def _names(sources: Iterable[Contract | list[Instrument]]) -> list[str]:
    return [
        name
        for read in sources
        for name in ([read.name] if isinstance(read, Contract) else [instrument.id.value for instrument in read])
    ]


def _utc(ts_ns: int) -> str:
    return datetime.fromtimestamp(min(ts_ns // 10**9, 4_102_444_800), UTC).strftime("%Y-%m-%d %H:%M UTC")
