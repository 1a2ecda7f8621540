"""Sums of one metric of one version by cluster, for the cluster-robust standard error of its mean.

Predictions depend on each other: those of one hour share the hour's market, those of one instrument share the
instrument. The variance of a mean is therefore taken from whole clusters (Liang & Zeger 1986): with S_g the sum and
n_g the count of cluster g, n observations of mean m and G clusters,

    n * Var(mean) = G / (G - 1) * sum_g (S_g - n_g m)^2 / n

with blocks of time as clusters, with instruments where these were assigned as a whole, and with every observation by
itself; the largest of the three counts.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from nautilus_torchserve.experiments.ab.sequential_tests import Arm

_ROUNDING = 1e-12
"""Share of a sum of squares that rounding may leave of equal observations."""


@dataclass
class Sums:
    """Sums over the observations of one cluster."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, count: int, total: float, squares: float) -> None:
        """Add observations."""
        self.count += count
        self.total += total
        self.squares += squares


@dataclass
class ClusterSums:
    """Sums of one metric of one version."""

    whole: Sums = field(default_factory=Sums)
    """All observations."""
    blocks: defaultdict[int, Sums] = field(default_factory=lambda: defaultdict(Sums))
    """Block of time -> its observations."""
    instruments: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    """Instrument -> its observations; empty for metrics that are not about one instrument."""

    def observe(self, value: float, block: int, instrument: str) -> None:
        """Add one observation."""
        self.add(1, value, value * value, block)
        self.instruments[instrument].add(1, value, value * value)

    def add(self, count: int, total: float, squares: float, block: int) -> None:
        """Add observations of which only the sums are known; ``count`` may be 0."""
        if count:
            self.whole.add(count, total, squares)
            self.blocks[block].add(count, total, squares)

    def arm(self, by_instrument: bool) -> Arm:
        """Return the mean and its variance.

        Parameters
        ----------
        by_instrument : bool
            Whether an instrument is with one version as a whole, and so counts as a cluster.
        """
        count = self.whole.count
        if not count:
            return Arm(0, np.nan, np.nan, np.nan)
        mean = self.whole.total / count
        spread = self.whole.squares - count * mean**2
        variance = spread / (count - 1) if spread > _ROUNDING * self.whole.squares else 0.0
        clusters = [_between(self.blocks.values(), mean, count)]
        if by_instrument:
            clusters.append(_between(self.instruments.values(), mean, count))
        return Arm(count, mean, variance, max(variance, *clusters))


def _between(clusters: Iterable[Sums], mean: float, count: int) -> float:
    """Return the cluster-robust long-run variance; 0 with fewer than two clusters, which say nothing about it."""
    residuals = np.array([cluster.total - cluster.count * mean for cluster in clusters])
    if len(residuals) < 2:
        return 0.0
    return float(len(residuals) / (len(residuals) - 1) * (residuals**2).sum() / count)
