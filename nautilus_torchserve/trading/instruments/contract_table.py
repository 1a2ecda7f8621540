"""The shipped table of common contracts, ``contracts.toml``."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from nautilus_torchserve.trading.instruments.symbols import named_pair

_FILE = Path(__file__).with_name("contracts.toml")
_MONTH = r"(?P<month>[FGHJKMNQUVXZ]\d{1,4})?(\.[A-Za-z]+(\.\d+)?|1!|=F)?"
"""Suffix of a future's root: a month, or a vendor's mark of a continuous contract."""

SPOT = "-SPOT"
"""Suffix of a spot pair at a venue that trades its perpetual as well."""


@dataclass(frozen=True)
class Contract:
    """One contract's terms."""

    name: str
    """Name for ``--instrument-definition``."""
    kind: str
    """``perpetual`` or ``future`` of a coin, or ``listed`` for a future of an exchange."""
    base: str
    """The coin, or a listed future's root."""
    quote: str
    """Currency of prices."""
    settlement: str
    """Currency in which profit is paid."""
    inverse: bool
    multiplier: Decimal
    ticks: tuple[Decimal, ...]
    """Smallest price changes, the coarsest first; empty where the table has none."""
    expiry_ns: int | None
    """Expiry, Unix ns; None if the symbol does not name it or there is none."""
    asset_class: str
    source: str
    """Source of the specification."""


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(_FILE.read_text())


def known_names() -> list[str]:
    """Return the names that `by_name` accepts unchanged."""
    return [row["name"] for row in _table()["contracts"]] + [row["root"] for row in _table()["futures"]]


def venue_code(venue: str) -> str:
    """Return a venue as the table writes it."""
    return re.sub("[-.]", "_", venue.upper())


def find_contract(symbol: str, venue: str) -> Contract | None:
    """Return the contract of that symbol at that venue; None where the table has none."""
    code = venue_code(venue)
    for row in _table()["contracts"]:
        match = re.fullmatch(row["symbols"], symbol.upper())
        if match is not None and code in row["venues"]:
            return _coin_contract(row, match)
    return _listed(symbol) if code in _table()["futures_venues"] else None


def by_name(name: str) -> Contract | None:
    """Return the contract that a user named: ``ES``, ``ESM4``, ``XBTUSD.BITMEX``; None where the table has none."""
    symbol, dot, venue = name.rpartition(".")
    return (find_contract(symbol, venue) if dot else None) or _listed(name)


def reads_no_names(venue: str) -> str:
    """Return why a symbol at this venue is not read as a pair; empty if it may be."""
    code, table = venue_code(venue), _table()
    if code in table["contract_venues"]:
        return f"sizes at {venue} may be contracts and profit may be paid in the coin"
    if code in table["futures_venues"]:
        return f"{venue} trades futures, whose multiplier and tick the data do not say"
    if code in table["equity_venues"]:
        return f"{venue} trades shares, whose currency the data do not say"
    return ""


def is_spot(symbol: str, venue: str) -> bool:
    """Return whether symbol or venue of a pair say that it is spot: ``BTCUSDT-SPOT``, as NautilusTrader has it."""
    return symbol.upper().endswith(SPOT) or venue_code(venue) in _table()["spot_venues"]


def _coin_contract(row: Mapping[str, Any], match: re.Match[str]) -> Contract:
    groups = match.groupdict()
    base, quote = named_pair(groups["base"], groups.get("quote") or row["quote"])
    multiplier = row["multiplier"]
    inverse = row.get("inverse", False)
    expiry = groups.get("expiry")
    return Contract(
        name=row["name"],
        kind=row["kind"],
        base=base,
        quote=quote,
        settlement=row.get("settlement", base if inverse else quote),
        inverse=inverse,
        multiplier=Decimal(multiplier if isinstance(multiplier, str) else multiplier[quote]),
        ticks=tuple(map(Decimal, row.get("ticks", ()))),
        expiry_ns=None if expiry is None else _expiry_ns(expiry),
        asset_class="CRYPTOCURRENCY",
        source=row["source"],
    )


def _expiry_ns(text: str) -> int:
    """Return 8:00 UTC of ``240628`` or ``28JUN24``."""
    day = datetime.strptime(text.title(), "%y%m%d" if text.isdigit() else "%d%b%y").replace(hour=8, tzinfo=UTC)
    return int(day.timestamp()) * 10**9


def _listed(symbol: str) -> Contract | None:
    for row in _table()["futures"]:
        if re.fullmatch(re.escape(row["root"]) + _MONTH, symbol, flags=re.IGNORECASE):
            return Contract(
                name=row["root"],
                kind="listed",
                base=row["root"],
                quote=row["currency"],
                settlement=row["currency"],
                inverse=False,
                multiplier=Decimal(row["multiplier"]),
                ticks=(Decimal(row["tick"]),),
                expiry_ns=None,
                asset_class=row["asset_class"],
                source=row["source"],
            )
    return None
