"""Drift of one version's outputs from those of another: the population stability index."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_SHARE = 0.05
"""Smallest share of the expected rows in a bin."""


@dataclass(frozen=True)
class Stability:
    """A population stability index, and how much of it may come from sampling alone."""

    index: float
    """Index of the two samples; 0 where their distributions are equal."""
    bins: int
    """Number of bins that the buckets were merged into."""
    rows_expected: int
    """Rows of the version compared with."""
    rows_actual: int
    """Rows of the version on trial."""

    def chance(self, alpha: float) -> float:
        """Return what the index of two samples of the same distribution exceeds with this probability.

        The index is distributed as (1/n + 1/m) times chi-squared with one degree of freedom less than there are bins
        (Yurdakul 2018, "Statistical properties of population stability index"). This holds for independent rows;
        neighbouring events of a market are not independent.
        """
        per_row = 1 / self.rows_expected + 1 / self.rows_actual
        from scipy.special import chdtri  # takes 0.6 s to import, see `experiments.canary.gates.rate_bounds`

        return per_row * float(chdtri(self.bins - 1, alpha)) if self.bins > 1 else 0.0


def stability(expected: Mapping[int, int], actual: Mapping[int, int]) -> Stability:
    """Return the population stability index of one output, from the counts of its buckets.

    It is the sum over bins of (a - e) ln(a / e), where a and e are the shares of the rows (Siddiqi 2006, "Credit risk
    scorecards", who calls less than 0.1 no change, 0.25 and more a large one): the divergence of Jeffreys (1946).
    Coarser buckets only lower it, so that no bucket width makes two versions look more different than they are.
    Neighbouring buckets are merged until each bin holds 5 % of the expected rows; rows outside of all expected ones
    are one bin on either side. Half a row is added to every bin, so that an empty one has a logarithm.

    Parameters
    ----------
    expected, actual : mapping
        `output_bucket` -> rows, at least one in each.
    """
    rows_expected, rows_actual = sum(expected.values()), sum(actual.values())
    if not rows_expected or not rows_actual:
        raise ValueError(f"expected rows of both versions, got {rows_expected} and {rows_actual}")
    edges = _upper_edges(expected, LEAST_SHARE * rows_expected)
    before = _binned(expected, edges, min(expected))
    after = _binned(actual, edges, min(expected))
    pairs = [(e, a) for e, a in zip(before, after, strict=True) if e or a]
    index = 0.0
    for rows_before, rows_after in pairs:
        e = (rows_before + 0.5) / (rows_expected + 0.5 * len(pairs))
        a = (rows_after + 0.5) / (rows_actual + 0.5 * len(pairs))
        index += (a - e) * math.log(a / e)
    return Stability(index, len(pairs), rows_expected, rows_actual)


def _upper_edges(counts: Mapping[int, int], least: float) -> list[int]:
    """Return the last bucket of each bin, such that each holds at least this many rows; the last takes the rest."""
    edges: list[int] = []
    rows = 0
    for bucket in sorted(counts):
        rows += counts[bucket]
        if rows >= least:
            edges.append(bucket)
            rows = 0
    if rows:
        edges[-1:] = [max(counts)]
    return edges


def _binned(counts: Mapping[int, int], edges: list[int], lowest: int) -> list[int]:
    """Return the rows below ``lowest``, in each bin, and above the last edge."""
    bins = [0] * (len(edges) + 2)
    for bucket, count in counts.items():
        bins[0 if bucket < lowest else 1 + bisect_left(edges, bucket)] += count
    return bins
