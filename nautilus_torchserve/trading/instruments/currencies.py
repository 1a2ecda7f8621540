"""Money without rounding: while a backtest runs, its account's currency has as many decimals as the engine can keep.

NautilusTrader rounds each amount to its currency's decimals (USD 2, JPY 0): at 0.5 bps the fee on an order of less
than 100 USD is nothing. Objects keep the currency that they were made with, so a node that was built before, or is
built after, has its own decimals.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TypeVar

from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION, Currency

from nautilus_torchserve.trading.backtest.ledger import account_currency

I = TypeVar("I", bound=Instrument)  # noqa: E741


FLOAT64_INTEGERS = 2**53
"""Integers up to this are exact in float64."""
MARGIN_HEADROOM = 3_000
"""An account that holds margin may grow a thousandfold; what is free of it comes from three floats."""
LEAST_BALANCE = 10_000
"""A smaller account may lose many times what it has."""


@contextmanager
def precise_currencies(instruments: Sequence[Instrument], balance: Decimal) -> Iterator[None]:
    """Register the settlement currencies of some instruments with as many decimals as `account_decimals` allows.

    Not for several threads at once: the register of currencies is the process'.

    Parameters
    ----------
    balance : Decimal
        Each account at the start, in settlement currency.
    """
    before = [
        Currency.from_str(code)
        for code in dict.fromkeys(account_currency(instrument).code for instrument in instruments)
    ]
    decimals = account_decimals(instruments, balance)
    try:
        for old in before:
            precise = Currency(old.code, decimals, old.iso4217, old.name, old.currency_type)
            Currency.register(precise, overwrite=True)
        yield
    finally:
        for old in before:
            Currency.register(old, overwrite=True)


def account_decimals(instruments: Sequence[Instrument], balance: Decimal) -> int:
    """Return how many decimals the engine can keep of an account's money.

    All it has, unless an instrument asks for margin: NautilusTrader computes what is free of an account in float64, and
    ends the run where that is not what is held less the margin to the last decimal.
    """
    if not any(instrument.margin_init or instrument.margin_maint for instrument in instruments):
        return FIXED_PRECISION
    largest = MARGIN_HEADROOM * max(float(balance), LEAST_BALANCE)
    return max(0, math.floor(math.log10(FLOAT64_INTEGERS / largest)))


def with_registered_currencies(instrument: I) -> I:
    """Return the same instrument with the currencies as they are registered now."""
    kind = type(instrument)
    return kind.from_dict(kind.to_dict(instrument))
