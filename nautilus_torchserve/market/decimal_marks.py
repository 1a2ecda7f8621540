"""Decimal commas and separators of thousands: numbers rewritten with a point, where they have one meaning only."""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

GROUPED = r"[-+]?\d{{1,3}}(?:{group}\d{{3}})+"
SPACES = "' \u00a0\u202f"
"""Separators of thousands that are never a decimal mark."""
REMEDY = "say which with --decimal point or --decimal comma"


def decimal_mark(texts: NDArray, delimiter: str, refuse: Callable[[int, str, str], Exception]) -> str:
    """Return the decimal mark of a file's numbers, ``point`` or ``comma``.

    It follows from the first number that can have one meaning only, such as ``17000,50``, ``1.234,5`` or ``0.5``.

    Parameters
    ----------
    texts : str [n]
        Numbers as written.
    delimiter : str
        The file's: with a semicolon ``17.012`` may be 17012.
    refuse : callable
        Given row, expectation and remedy, makes the error for a number that could be two.
    """
    is_marked = ~np.array([text.isdigit() for text in texts.tolist()], dtype=bool)
    doubtful = None
    for row in np.flatnonzero(is_marked).tolist():
        text = texts[row]
        last = max(text.rfind(","), text.rfind("."))
        if last < 0:
            continue
        mark, other = (",", ".") if text[last] == "," else (".", ",")
        if text.count(mark) > 1:
            return "point" if mark == "," else "comma"
        if other in text or not re.fullmatch(GROUPED.format(group=re.escape(mark)), text):
            return "comma" if mark == "," else "point"
        if doubtful is None and (mark == "," or delimiter == ";"):
            doubtful = row
    if doubtful is not None:
        raise refuse(doubtful, "a number whose comma or point has one meaning", REMEDY)
    return "point"


def with_point(texts: NDArray, mark: str) -> NDArray:
    """Return numbers with a decimal point and without separators of thousands; what is no number stays as it is."""
    together = "\n".join(texts.tolist())
    if mark == "point" and not any(separator in together for separator in f",{SPACES}"):
        return texts
    point, group = (".", ",") if mark == "point" else (",", ".")
    of_groups = f"[{re.escape(group)}{SPACES}]"
    grouped = re.compile(GROUPED.format(group=of_groups) + rf"(?:{re.escape(point)}\d*)?")
    plain = re.compile(rf"[-+]?\d*(?:{re.escape(point)}\d*)?(?:[eE][-+]?\d+)?")
    rewritten = texts.copy()
    for row, text in enumerate(texts.tolist()):
        if grouped.fullmatch(text):
            rewritten[row] = re.sub(of_groups, "", text).replace(point, ".")
        elif plain.fullmatch(text):
            rewritten[row] = text.replace(point, ".")
        elif point == ",":  # a point in a file with decimal commas is no decimal point
            rewritten[row] = text.replace(".", ",")
    return rewritten
