"""Significance of gains, at the precision at which their interval is printed."""

from collections.abc import Sequence


def is_gain(interval: Sequence[float], decimals: int) -> bool:
    """Return whether an interval, printed with this many decimals, lies above zero: +0.000 to +0.002 does not."""
    return round(interval[0], decimals) > 0


def is_loss(interval: Sequence[float], decimals: int) -> bool:
    """Return whether an interval, printed with this many decimals, lies below zero."""
    return round(interval[1], decimals) < 0
