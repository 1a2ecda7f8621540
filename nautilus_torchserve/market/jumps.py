"""Price jumps beyond a market's usual moves: unadjusted splits, mixed instruments, bad ticks, real crashes."""

import numpy as np
from numpy.typing import NDArray

DAY_NS = 86_400 * 10**9
LEAST_JUMP, MOST_JUMP = 1.4, 4.0
"""Between these the factor lies beyond which a price jumps. Below the first a split of 3:2 would pass."""
DAILY_MOVE = 0.6
"""Log of the factor that is allowed within a day, 1.82; it grows with the square root of time. A split of 2:1 jumps."""
CLOSED_NS = 4 * DAY_NS
"""Longest time for which a market may have been closed, so that it allows no larger move."""
LEAST_STEPS = 3
"""Minimum distance of a jump in steps: a coin quoted at 1e-8 doubles with one step."""
SPLITS = (*((n, 1) for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 100)), (3, 2), (5, 2), (5, 3))
"""Ratios in which shares are split, new to old; reverse splits have them the other way round."""
SPLIT_TOLERANCE = 0.05
"""How far from its ratio a split may move the price: the market moves overnight, too."""
MOST_NAMED = 5
"""Number of jumps that are listed individually."""
JUMP_REMEDY = "Adjust the prices, or pass --allow-jumps where the market really moved so."


def allowed_factor(elapsed_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the factor beyond which a move is a jump: 1.4 up to 7 hours, 1.82 for a day, 4 from 6 days on."""
    return np.clip(np.exp(DAILY_MOVE * np.sqrt(np.maximum(elapsed_ns, 0) / DAY_NS)), LEAST_JUMP, MOST_JUMP)


def find_jumps(
    before: NDArray[np.int64], after: NDArray[np.int64], elapsed_ns: NDArray[np.int64], traded_ns: int = 0
) -> NDArray[np.int64]:
    """Return the positions at which a price jumps.

    Parameters
    ----------
    before, after : int64 [n]
        Two prices in the same steps, where one is not positive there is no jump.
    elapsed_ns : int64 [n]
        Time between them.
    traded_ns : int
        How much of it the market certainly traded; what is beyond counts only where it exceeds `CLOSED_NS`.
    """
    counted_ns = np.where(elapsed_ns - traded_ns <= CLOSED_NS, np.minimum(elapsed_ns, traded_ns), elapsed_ns)
    low, high = np.minimum(before, after), np.maximum(before, after)
    jumps = (low > 0) & (high - low >= LEAST_STEPS) & (high > allowed_factor(counted_ns) * low)
    return np.flatnonzero(jumps)


def split_name(factor: float) -> str | None:
    """Return the split that multiplies a price by ``factor``, if any: ``2:1`` for about 0.5, ``1:10`` for about 10."""
    ratios = {f"{new}:{old}": old / new for new, old in SPLITS} | {f"{old}:{new}": new / old for new, old in SPLITS}
    name, ratio = min(ratios.items(), key=lambda item: abs(np.log(factor / item[1])))
    return name if abs(np.log(factor / ratio)) <= SPLIT_TOLERANCE else None


def split_note(factor: float) -> str:
    """Return the addition to a jump's sentence if it is probably a split."""
    name = split_name(factor)
    return "" if name is None else f" (probably an unadjusted {name} split)"


def and_more(count: int) -> str:
    """Return the end of a list of `MOST_NAMED` if there are more."""
    return f"; and {count - MOST_NAMED:,} more" if count > MOST_NAMED else ""
