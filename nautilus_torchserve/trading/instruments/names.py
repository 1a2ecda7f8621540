"""Instrument names that NautilusTrader can trade.

In 1.221 an underscore makes a symbol a spread of several instruments, which fails at the first fill
(`InstrumentId.is_spread`), and an account's issuer ends at the first hyphen, so that a venue with one gets no account.
Names of files and catalogs stay what they are everywhere a user sees them; only the engine is given these.
"""

import re

from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue

from nautilus_torchserve.market.trades.trades import BadData

_SYMBOL = re.compile(r"[A-Za-z0-9._/:+#!=^$&-]+")
_VENUE = re.compile(r"[A-Za-z0-9_]+")


def engine_id(symbol: str, venue: str) -> InstrumentId:
    """Return the instrument's name in a run: ``BTC_USDT`` at ``GATE-IO`` is ``BTC-USDT.GATE_IO``.

    Raises
    ------
    BadData
        Characters that NautilusTrader does not take.
    """
    if not (_SYMBOL.fullmatch(symbol) and re.search("[A-Za-z0-9]", symbol)):
        raise BadData(
            f"{symbol}.{venue}: expected a symbol of ASCII letters, digits and ._/:+#!=^$&-, got {symbol!r}; "
            "give the data another name (--instrument for bars, column 'symbol' for trades)"
        )
    engine_venue = re.sub("[-.]", "_", venue)
    if not _VENUE.fullmatch(engine_venue):
        raise BadData(f"{symbol}.{venue}: expected a venue of ASCII letters, digits and -_., got {venue!r}")
    return InstrumentId(Symbol(symbol.replace("_", "-")), Venue(engine_venue))


def engine_name(instrument_id: str) -> str:
    """Return `engine_id` of ``BTC_USDT.GATE-IO`` as text."""
    symbol, _, venue = instrument_id.rpartition(".")
    return engine_id(symbol, venue).value


def order_id_tag(instrument_id: InstrumentId) -> str:
    """Return the tag that distinguishes a strategy's orders from those on other instruments.

    A strategy's tag is what follows its last hyphen: of BTC-PERP and ETH-PERP it would be the same, and so would the
    names of their orders of one second.
    """
    return instrument_id.value.replace("-", "_")
