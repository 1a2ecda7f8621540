"""Checks of numbers that NautilusTrader can hold; beyond them it ends the process instead of raising."""

import numpy as np
from nautilus_trader.model.objects import FIXED_PRECISION, PRICE_MAX, QUANTITY_MAX
from numpy.typing import NDArray

from nautilus_torchserve.market.trades.trades import BadData, decimal_text


def check_price(source: str, name: str, steps: NDArray[np.int64], precision: int) -> None:
    """Refuse prices that a NautilusTrader ``Price`` cannot hold.

    Parameters
    ----------
    source, name : str
        Where they came from and what they are, for messages.
    steps : int64 [n]
        In steps of 10**-precision.

    Raises
    ------
    BadData
    """
    _check(source, name, steps, precision, PRICE_MAX)


def check_quantity(source: str, name: str, steps: NDArray[np.int64], precision: int) -> None:
    """Refuse sizes that a NautilusTrader ``Quantity`` cannot hold; see `check_price`.

    Raises
    ------
    BadData
    """
    _check(source, name, steps, precision, QUANTITY_MAX)


def _check(source: str, name: str, steps: NDArray[np.int64], precision: int, most: float) -> None:
    if precision > FIXED_PRECISION:
        raise BadData(f"{source}: expected {name} of at most {FIXED_PRECISION} decimals, got {precision}")
    largest = int(steps.max(initial=0))
    if largest >= int(most) * 10**precision:
        got = decimal_text(largest, precision)
        raise BadData(f"{source}: expected {name} below {most:g} (NautilusTrader's largest), got {got}")
