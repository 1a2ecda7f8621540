"""Money without rounding: while a backtest runs, its account's currency has as many decimals as the engine can keep.

NautilusTrader rounds each amount to its currency's decimals (USD 2, JPY 0): at 0.5 bps the fee on an order of less
than 100 USD is nothing. Objects keep the currency that they were made with, so a node that was built before, or is
built after, has its own decimals.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION, Currency

from strategies.ledger import account_currency

I = TypeVar("I", bound=Instrument)  # noqa: E741


@contextmanager
def precise_currencies(instruments: Iterable[Instrument]) -> Iterator[None]:
    """Register the settlement currencies of some instruments with all decimals while the block runs.

    Not for several threads at once: the register of currencies is the process'.
    """
    before = [Currency.from_str(code) for code in dict.fromkeys(account_currency(each).code for each in instruments)]
    try:
        for old in before:
            precise = Currency(old.code, FIXED_PRECISION, old.iso4217, old.name, old.currency_type)
            Currency.register(precise, overwrite=True)
        yield
    finally:
        for old in before:
            Currency.register(old, overwrite=True)


def with_registered_currencies(instrument: I) -> I:
    """The same instrument, made of the currencies as they are registered now."""
    kind = type(instrument)
    return kind.from_dict(kind.to_dict(instrument))
