"""Exact conversion of NautilusTrader's stored fixed-point numbers to whole steps of a decimal precision.

A stored value is a signed integer of 16 bytes in units of 1e-16 (of 8 bytes in units of 1e-9 where NautilusTrader was
built with its standard precision), whatever the precision that a file's metadata names.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DECIMALS = {16: 16, 8: 9}
"""Bytes of a stored value -> decimals of its unit."""
_LARGEST = np.uint64(2**63 - 1)
_DIVISOR = 8
"""Decimals divided by at once: a remainder below 10**8 leaves 32 more bits free."""


def to_steps(
    columns: list[NDArray[np.uint8]], precision: int, overflow: Callable[[int, int, str], Exception]
) -> tuple[list[NDArray[np.int64]], int]:
    """Convert stored values to whole steps of 10**-precision, the same for all columns.

    Parameters
    ----------
    columns : list of uint8 [n, bytes]
        Little-endian.
    precision : int
        Nominal decimals of the values; more are used where a value needs them, so that none is altered.
    overflow : callable
        Given column, row and the value as a decimal text, makes the error for a value beyond int64.

    Returns
    -------
    steps : list of int64 [n]
    precision : int
    """
    signs_and_limbs = [_magnitude(column) for column in columns]
    decimals = DECIMALS[columns[0].shape[1]]
    divided = [_divide(limbs, decimals - precision) for _, limbs in signs_and_limbs]
    if any(inexact.any() for _, inexact in divided):
        for _, limbs in signs_and_limbs:
            precision = _needed(limbs, precision, decimals)
        divided = [_divide(limbs, decimals - precision) for _, limbs in signs_and_limbs]
    steps = []
    for position, ((negative, _), (quotient, _)) in enumerate(zip(signs_and_limbs, divided, strict=True)):
        high, low = _join(quotient)
        large = (high != 0) | (low > _LARGEST)
        if large.any():
            row = int(large.argmax())
            raise overflow(position, row, as_text(columns[position][row]))
        values = low.astype(np.int64)
        steps.append(np.where(negative, -values, values))
    return steps, precision


def as_text(stored: NDArray[np.uint8]) -> str:
    """Return one stored value as a decimal text."""
    raw = int.from_bytes(stored.tobytes(), "little", signed=True)
    decimals = DECIMALS[len(stored)]
    whole, rest = divmod(abs(raw), 10**decimals)
    fraction = f"{rest:0{decimals}d}".rstrip("0")
    return f"{'-' if raw < 0 else ''}{whole}{'.' if fraction else ''}{fraction}"


_Limbs = list[NDArray[np.uint64]]
"""Digits of base 2**32, the most significant first, each [n]."""


def _magnitude(stored: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], _Limbs]:
    """Return which values are negative [n], and the absolute values."""
    words = np.ascontiguousarray(stored).view("<u4").astype(np.uint64)  # (n, bytes / 4), least significant first
    negative = words[:, -1] >= 2**31
    carry = negative.astype(np.uint64)
    limbs: _Limbs = []
    for word in words.T:  # two's complement: every bit turned, then 1 added
        turned = np.where(negative, word ^ np.uint64(0xFFFFFFFF), word) + carry
        limbs.append(turned & np.uint64(0xFFFFFFFF))
        carry = turned >> np.uint64(32)
    return negative, limbs[::-1]


def _divide(limbs: _Limbs, exponent: int) -> tuple[_Limbs, NDArray[np.bool_]]:
    """Return the quotients by 10**exponent, and where there was a remainder [n]."""
    inexact = np.zeros(len(limbs[0]), dtype=bool)
    while exponent > 0:
        divisor = np.uint64(10 ** min(exponent, _DIVISOR))
        remainder = np.zeros(len(limbs[0]), dtype=np.uint64)
        quotient: _Limbs = []
        for limb in limbs:
            value = (remainder << np.uint64(32)) | limb
            digit = value // divisor
            remainder = value - digit * divisor
            quotient.append(digit)
        limbs, inexact = quotient, inexact | (remainder != 0)
        exponent -= _DIVISOR
    return limbs, inexact


def _needed(limbs: _Limbs, precision: int, decimals: int) -> int:
    """Return the lowest precision, from ``precision`` on, at which no value has a remainder."""
    rest = limbs
    while precision < decimals:
        _, inexact = _divide(rest, decimals - precision)
        if not inexact.any():
            break
        rest = [limb[inexact] for limb in rest]
        precision += 1
    return precision


def _join(limbs: _Limbs) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the bits above 64, and the lower 64 bits."""
    high = np.zeros(len(limbs[0]), dtype=np.uint64)
    for limb in limbs[:-2]:
        high |= limb
    return high, (limbs[-2] << np.uint64(32)) | limbs[-1]
