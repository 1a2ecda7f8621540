"""Exact, vectorised conversion of decimal texts to whole numbers of 10**-precision steps."""

import math
from decimal import Decimal, InvalidOperation
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MOST_DIGITS = 18
"""Every number of this many decimal digits fits an int64."""
EXACT_INTEGERS = 2**53
"""Integers below this are exact in float64, which the features rely on."""
FLOAT_DIGITS = 15
"""Every number of this many significant digits is the shortest of its float64."""
_MINUS, _POINT, _ZERO, _NINE, _EXPONENT = b"-.09e"
_LOWER = 0x20
"""The bit that makes an ASCII letter lower case."""

_LOST = "the exponent hides digits; use the published file, not one that a spreadsheet saved"
_GROUPED = "write numbers without separators of thousands"


class Refusal(Protocol):
    """Makes the error to raise."""

    def __call__(self, row: int, expected: str, remedy: str = "") -> Exception:
        """Return the error for a row, given the expectation and the remedy."""


def parse_integers(texts: NDArray, refuse: Refusal) -> NDArray[np.int64]:
    """Parse whole numbers, int64 [n]; parameters as for :func:`parse_decimals`."""
    values, precision = parse_decimals(texts, refuse)
    if precision:
        raise refuse(int((values % 10**precision != 0).argmax()), "a whole number")
    return values


def parse_decimals(texts: NDArray, refuse: Refusal) -> tuple[NDArray[np.int64], int]:
    """Parse decimal numbers without a float on the way.

    Parameters
    ----------
    texts : str [n]
        ``9682``, ``9682.50``, ``-1.5``; ``1e-07`` too, which some exporters write for small sizes.
    refuse : Refusal
        Makes the error for a row: for what is no number, has too many digits, or has lost some to an exponent, as
        ``1.738E+12`` has.

    Returns
    -------
    values : int64 [n]
        In steps of 10**-precision.
    precision : int
        Most decimals seen; zeros at the end, with which some exporters pad, do not count.
    """
    characters = _characters(texts, refuse)
    rows = characters.shape[1]
    negative = characters[0] == _MINUS
    characters[0, negative] = _ZERO
    values = np.zeros(rows, dtype=np.int64)
    seen, digits, decimals, significant = np.zeros((4, rows), dtype=np.int16)  # digits: without leading zeros
    in_decimals, bad = np.zeros((2, rows), dtype=bool)
    for place in characters:  # one place of all numbers at once
        is_digit = (place >= _ZERO) & (place <= _NINE)
        is_point = place == _POINT
        bad |= ~(is_digit | is_point | (place == 0)) | (is_point & in_decimals)
        np.copyto(values, values * 10 + place - _ZERO, where=is_digit)
        seen += is_digit
        digits += is_digit & ((digits > 0) | (place != _ZERO))
        decimals += is_digit & in_decimals
        np.copyto(significant, decimals, where=is_digit & (place != _ZERO))
        in_decimals |= is_point
    bad |= seen <= negative  # the minus became a zero
    if bad.any():
        row = int(bad.argmax())
        raise refuse(row, "a number", _GROUPED if "," in str(texts[row]) else "")

    precision = int(significant.max())
    long = np.maximum(digits, digits - decimals + precision) > MOST_DIGITS
    if long.any():
        raise refuse(int(long.argmax()), f"a number of at most {MOST_DIGITS} digits at {precision} decimals")
    values *= _power_of_ten(precision - decimals)
    values //= _power_of_ten(decimals - precision)  # takes away nothing but zeros
    return np.where(negative, -values, values), precision


def _power_of_ten(exponent: NDArray[np.int16]) -> NDArray[np.int64]:
    return 10 ** np.clip(exponent, 0, MOST_DIGITS).astype(np.int64)


def without_float_noise(texts: NDArray) -> tuple[NDArray, int]:
    """Return numbers without the noise that arithmetic in binary floats leaves, and how many had some.

    ``42954.700000000004`` is 42954.7: the two are at most 4 units in the last place of a float64 apart, and a float64
    has 15 digits for certain. Nothing is changed where all numbers are exact in a float64 as they stand (below 2**53
    steps of their last decimal), or where one of more than 15 digits is no such noise.
    """
    long = np.array([len(text) > FLOAT_DIGITS for text in texts.tolist()], dtype=bool)
    rows = [row for row in np.flatnonzero(long).tolist() if _significant(texts[row]) > FLOAT_DIGITS]
    if not rows:
        return texts, 0
    decimals = max(-int(Decimal(texts[row]).as_tuple().exponent) for row in rows)
    largest = max(abs(float(text)) for text in texts.tolist() if _significant(text))
    if largest * 10.0**decimals < EXACT_INTEGERS:
        return texts, 0
    rewritten = texts.copy()
    for row in rows:
        value = float(texts[row])
        rewritten[row] = f"{Decimal(f'{value:.{FLOAT_DIGITS}g}'):f}"
        if abs(float(rewritten[row]) - value) > 4 * math.ulp(value):
            return texts, 0
    return rewritten, len(rows)


def _significant(text: str) -> int:
    """Return the number of significant digits of a number; 0 for what is none."""
    try:
        return len(Decimal(text).as_tuple().digits)
    except InvalidOperation:
        return 0


def has_exponent(texts: NDArray) -> NDArray[np.bool_]:
    """Return which texts are in scientific notation [n]."""
    return np.array(["e" in text or "E" in text for text in texts.tolist()], dtype=bool)


def _characters(texts: NDArray, refuse: Refusal) -> NDArray[np.uint8]:
    """Return the texts as ASCII [longest, n], exponents written out, padded with zero bytes."""
    characters = _ascii(texts, refuse)
    exponents = np.flatnonzero((characters | _LOWER == _EXPONENT).any(axis=0))
    if len(exponents):
        texts = texts.astype(object)
        for row in exponents:
            try:
                number = Decimal(texts[row])
            except InvalidOperation:
                raise refuse(int(row), "a number") from None
            exponent = number.as_tuple().exponent
            if isinstance(exponent, int) and number and 0 < exponent <= MOST_DIGITS:
                raise refuse(int(row), "a number with all its digits", _LOST)
            if abs(number.adjusted()) > MOST_DIGITS:
                raise refuse(int(row), f"a number of at most {MOST_DIGITS} digits")
            texts[row] = f"{number:f}"
        characters = _ascii(texts, refuse)
    return characters


def _ascii(texts: NDArray, refuse: Refusal) -> NDArray[np.uint8]:
    try:
        encoded = texts.astype(np.bytes_)
    except UnicodeEncodeError:
        is_ascii = [text.isascii() for text in texts.tolist()]
        raise refuse(is_ascii.index(False), "a number") from None
    return np.ascontiguousarray(encoded.view(np.uint8).reshape(len(texts), -1).T)
