"""Intervals of scores on a time series, whose neighbours are not independent."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
CONFIDENCE = 0.95


class Blocks:
    """A test part in blocks of neighbours, resampled with replacement (Carlstein 1986).

    Parameters
    ----------
    rows : int
        Rows of the test part, in order of time.
    length : int
        Rows of a block: longer than what neighbours have in common.
    seed : int
        Of the resampling.
    """

    def __init__(self, rows: int, length: int, seed: int) -> None:
        self.rows = rows
        self.length = length
        self.starts = np.arange(0, rows, length)
        """First row of every block."""
        drawn = np.random.default_rng(seed).integers(len(self.starts), size=(RESAMPLES, len(self.starts)))
        self.times = np.stack([np.bincount(blocks, minlength=len(self.starts)) for blocks in drawn])
        """Number of times that each block was drawn, int [resamples, blocks]."""

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over each resample [resamples] of a value per row."""
        return np.asarray(self.times @ np.add.reduceat(values, self.starts), dtype=np.float64)

    def means(self, values: NDArray[np.float64], chosen: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Return the mean over each resample [resamples], of the chosen rows where not all count."""
        weights = np.ones(self.rows) if chosen is None else chosen.astype(np.float64)
        return self.sums(values * weights) / np.maximum(self.sums(weights), 1.0)


def interval(values: NDArray[np.float64]) -> list[float]:
    """Return the lower and upper end that hold `CONFIDENCE` of the resampled values."""
    tail = (1 - CONFIDENCE) / 2
    return np.quantile(values, [tail, 1 - tail]).tolist()


def is_gain(interval: Sequence[float], decimals: int) -> bool:
    """Return whether an interval, printed with this many decimals, lies above zero: +0.000 to +0.002 does not."""
    return round(interval[0], decimals) > 0


def is_loss(interval: Sequence[float], decimals: int) -> bool:
    """Return whether an interval, printed with this many decimals, lies below zero."""
    return round(interval[1], decimals) < 0
