"""Base and quote currency of a pair, where its symbol can be read in one way only."""

import re
from typing import NamedTuple

from market.trades import BadData

FIAT = frozenset({
    "AUD", "BRL", "CAD", "CHF", "CNH", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "JPY",
    "KRW", "MXN", "NOK", "NZD", "PHP", "PLN", "RON", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD",
    "VND", "ZAR", "XAU", "XAG", "XPT", "XPD",
})
"""Currencies of states, and metals that are traded like them."""
STABLECOINS = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USDE", "DAI")
QUOTES = (*STABLECOINS, *sorted(FIAT - {"XPT", "XPD"}), "BTC", "XBT", "ETH", "BNB")
"""What a pair may be quoted in."""
COINS = frozenset({
    "1INCH", "AAVE", "ACH", "ADA", "AGIX", "AGLD", "ALGO", "ALICE", "ALPHA", "ANKR", "APE", "API3", "APT", "AR", "ARB",
    "ARKM", "ASTR", "ATOM", "AUCTION", "AUDIO", "AVAX", "AXS", "BAL", "BAND", "BAT", "BCH", "BEAM", "BICO", "BIGTIME",
    "BLUR", "BLZ", "BNB", "BOME", "BONK", "BSV", "BTC", "BTG", "BTT", "C98", "CAKE", "CELO", "CELR", "CFX", "CHR",
    "CHZ", "CKB", "COMP", "COTI", "CRO", "CRV", "CTSI", "CVC", "CVX", "DASH", "DAI", "DENT", "DGB", "DODO", "DOGE",
    "DOT", "DYDX", "DYM", "EDU", "EGLD", "ENA", "ENJ", "ENS", "EOS", "ETC", "ETH", "ETHFI", "ETHW", "FET", "FIL", "FLM",
    "FLOKI", "FLOW", "FLR", "FTM", "FTT", "FXS", "GALA", "GAL", "GLM", "GLMR", "GMT", "GMX", "GRT", "GTC", "HBAR",
    "HIFI", "HIGH", "HNT", "HOT", "HYPE", "ICP", "ICX", "ID", "ILV", "IMX", "INJ", "IOST", "IOTA", "IOTX", "JASMY",
    "JOE", "JTO", "JUP", "KAS", "KAVA", "KDA", "KLAY", "KNC", "KSM", "LDO", "LINA", "LINK", "LIT", "LPT", "LQTY", "LRC",
    "LTC", "LUNA", "LUNC", "MAGIC", "MANA", "MANTA", "MASK", "MATIC", "MEME", "MINA", "MKR", "MNT", "MOVR", "MTL",
    "NEAR", "NEO", "NKN", "NMR", "NOT", "OCEAN", "OGN", "OM", "OMG", "ONDO", "ONE", "ONT", "OP", "ORDI", "PAXG",
    "PENDLE", "PEOPLE", "PEPE", "PERP", "PHB", "PIXEL", "POL", "PYTH", "QNT", "QTUM", "RAY", "RDNT", "REEF", "REN",
    "REP", "REQ", "RLC", "RNDR", "RENDER", "ROSE", "RPL", "RSR", "RUNE", "RVN", "SAND", "SC", "SEI", "SHIB", "SKL",
    "SLP", "SNT", "SNX", "SOL", "SPELL", "SSV", "STG", "STORJ", "STRK", "STX", "SUI", "SUPER", "SUSHI", "SXP", "TAO",
    "THETA", "TIA", "TON", "TRB", "TRU", "TRUMP", "TRX", "TWT", "UMA", "UNFI", "UNI", "USDC", "USDT", "VET", "VTHO",
    "WAVES", "WAXP", "WBTC", "WETH", "WIF", "WLD", "WOO", "XBT", "XDG", "XEC", "XEM", "XLM", "XMR", "XRP", "XTZ", "XVG",
    "XVS", "YFI", "YGG", "ZEC", "ZEN", "ZIL", "ZRO", "ZRX",
})
"""Bases that decide how a symbol without a separator is read: DOTUSD is DOT in USD, not DO in TUSD."""
ALIASES = {"XBT": "BTC", "XDG": "DOGE"}
"""Codes of some venues -> the usual ones."""


class Pair(NamedTuple):
    """What is traded for what."""

    base: str
    quote: str


def read_pair(symbol: str) -> Pair | None:
    """``BTCUSDT``, ``BTC-USD``, ``dotusd`` or ``EUR/USD`` as a pair; None where the symbol is not one.

    With a separator the two sides are what they are. Without one, a known base decides; an unknown one is taken only
    where no other reading exists and the quote is a state's currency or a stablecoin.

    Raises
    ------
    BadData
        There is more than one reading.
    """
    parts = re.split(r"[-_/]", symbol.upper())
    if len(parts) == 2 and parts[1] in QUOTES and re.fullmatch(r"[A-Z0-9]{2,}", parts[0]):
        return named_pair(*parts)
    if len(parts) > 1:
        return None
    readings = [Pair(parts[0].removesuffix(quote), quote) for quote in QUOTES if parts[0].endswith(quote)]
    readings = [each for each in readings if re.fullmatch(r"[A-Z0-9]{2,}", each.base)]
    known = [each for each in readings if _is_known(each.base)]
    plain = [each for each in readings if each.quote in FIAT or each.quote in STABLECOINS]
    chosen = known or plain
    if len(chosen) > 1:
        several = " or ".join(f"{base}/{quote}" for base, quote in chosen)
        raise BadData(f"{symbol}: expected a symbol with one reading, got {several}; --currency says which")
    return named_pair(*chosen[0]) if chosen else None


def named_pair(base: str, quote: str) -> Pair:
    """A pair by the usual codes of its currencies."""
    return Pair(ALIASES.get(base, base), ALIASES.get(quote, quote))


def _is_known(base: str) -> bool:
    return re.sub(r"^(1000000|10000|1000|1M)(?=[A-Z])", "", base) in COINS | FIAT
