"""How far the answers of one version have moved from those of another: the population stability index."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_SHARE = 0.05
"""Of the expected rows, in each bin."""


@dataclass(frozen=True)
class Stability:
    """A population stability index and how much of it sampling alone may make."""

    index: float
    """Of the two samples; 0 where they are alike."""
    bins: int
    """Into which the buckets were merged."""
    rows_expected: int
    """Of the version compared with."""
    rows_actual: int
    """Of the version on trial."""

    def chance(self, alpha: float) -> float:
        """What the index of two samples of the same distribution exceeds with this probability.

        Such an index is distributed as (1/n + 1/m) times chi-squared with one degree of freedom less than there are
        bins (Yurdakul 2018, "Statistical properties of population stability index"); this holds for rows that are
        independent, and neighbouring events of a market are not.
        """
        per_row = 1 / self.rows_expected + 1 / self.rows_actual
        from scipy.special import chdtri  # late, see `experiments.canary.gates.rate_bounds`

        return per_row * float(chdtri(self.bins - 1, alpha)) if self.bins > 1 else 0.0


def stability(expected: Mapping[int, int], actual: Mapping[int, int]) -> Stability:
    """The population stability index of one output, from the counts of its buckets.

    sum over bins of (a - e) ln(a / e), a and e being the shares of the rows (Siddiqi 2006, "Credit risk scorecards",
    who calls less than 0.1 no change, 0.25 and more a great one); that is the divergence of Jeffreys (1946). Coarser
    buckets only lower it, so that no width of buckets makes two versions look more different than they are.
    Neighbouring buckets are merged until each bin holds 5 % of the expected rows; what lies outside of all expected
    rows makes one bin on either side. Half a row is added to every bin, so that an empty one has a logarithm.

    Parameters
    ----------
    expected, actual : mapping
        `output_bucket` -> rows, at least one in each.
    """
    rows_expected, rows_actual = sum(expected.values()), sum(actual.values())
    if not rows_expected or not rows_actual:
        raise ValueError(f"rows on both sides expected, was {rows_expected} and {rows_actual}")
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
    """The last bucket of each bin, so that each holds at least this many rows; the last bin takes what is left."""
    edges: list[int] = []
    held = 0
    for bucket in sorted(counts):
        held += counts[bucket]
        if held >= least:
            edges.append(bucket)
            held = 0
    if held:
        edges[-1:] = [max(counts)]
    return edges


def _binned(counts: Mapping[int, int], edges: list[int], lowest: int) -> list[int]:
    """Rows below ``lowest``, in each bin, and above the last edge."""
    bins = [0] * (len(edges) + 2)
    for bucket, count in counts.items():
        bins[0 if bucket < lowest else 1 + bisect_left(edges, bucket)] += count
    return bins
