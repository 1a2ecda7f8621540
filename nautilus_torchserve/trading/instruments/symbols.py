"""Base and quote currency of a pair, where its symbol can be read in one way only."""

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from nautilus_torchserve.market.trades.trades import BadData

_TABLE = tomllib.loads(Path(__file__).with_name("symbols.toml").read_text())
FIAT = frozenset(_TABLE["fiat"])
"""Fiat currencies, and metals that are traded like them."""
STABLECOINS = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USDE", "DAI")
QUOTES = (*STABLECOINS, *sorted(FIAT - {"XPT", "XPD"}), "BTC", "XBT", "ETH", "BNB")
"""Quote currencies of pairs."""
COINS = frozenset(_TABLE["coins"])
"""Bases that decide how a symbol without a separator is read: DOTUSD is DOT in USD, not DO in TUSD."""
QUOTE_FIRST = frozenset(_TABLE["quote_first"])
"""Venues whose symbols begin with the quote currency."""
ALIASES = {"XBT": "BTC", "XDG": "DOGE"}
"""Codes of some venues -> the usual ones."""


class Pair(NamedTuple):
    """Base and quote currency of a pair."""

    base: str
    quote: str


def read_pair(symbol: str, venue: str = "") -> Pair | None:
    """Parse ``BTCUSDT``, ``BTC-USD``, ``dotusd`` or ``EUR/USD`` as a pair; None where the symbol is not one.

    With a separator the two sides are what they are, at the venues of `QUOTE_FIRST` in the other order; money in coins
    (``KRW-BTC``) has two readings elsewhere. Without one, a known base decides; an unknown one is taken only where no
    other reading exists and the quote is a state's currency or a stablecoin.

    Raises
    ------
    BadData
        There is more than one reading.
    """
    parts = re.split(r"[-_/]", symbol.upper())
    money = FIAT.union(STABLECOINS)
    if len(parts) == 2 and venue.upper() in QUOTE_FIRST:
        parts.reverse()
    elif len(parts) == 2 and parts[0] in money and parts[1] in set(QUOTES) - money:
        raise _several(symbol, [Pair(*parts), Pair(parts[1], parts[0])])
    if len(parts) == 2 and parts[1] in QUOTES and re.fullmatch(r"[A-Z0-9]{2,}", parts[0]):
        return named_pair(*parts)
    if len(parts) > 1:
        return None
    readings = [Pair(parts[0].removesuffix(quote), quote) for quote in QUOTES if parts[0].endswith(quote)]
    readings = [pair for pair in readings if re.fullmatch(r"[A-Z0-9]{2,}", pair.base)]
    known = [pair for pair in readings if _is_known(pair.base)]
    plain = [pair for pair in readings if pair.quote in FIAT or pair.quote in STABLECOINS]
    chosen = known or plain
    if len(chosen) > 1:
        raise _several(symbol, chosen)
    return named_pair(*chosen[0]) if chosen else None


def _several(symbol: str, pairs: list[Pair]) -> BadData:
    readings = " or ".join(f"{base}/{quote}" for base, quote in pairs)
    return BadData(f"{symbol}: expected a symbol with one reading, got {readings}; --currency says which")


def named_pair(base: str, quote: str) -> Pair:
    """Return a pair by the usual codes of its currencies."""
    return Pair(ALIASES.get(base, base), ALIASES.get(quote, quote))


def _is_known(base: str) -> bool:
    return re.sub(r"^(1000000|10000|1000|1M)(?=[A-Z])", "", base) in COINS | FIAT
