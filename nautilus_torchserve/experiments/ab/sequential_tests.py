"""Comparing the means of two versions while the data come in, as often as one likes.

A t-test may be looked at once, at a sample size fixed before. Whoever looks after every observation and
stops when p < 0.05 promotes an equal challenger one time in three. What is here holds at all sample sizes
at once: with probability 1 - alpha the interval contains the true difference at **every** look, so any rule
for stopping is allowed.

It is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform
central limit theory and asymptotic confidence sequences" (Annals of Statistics 2024, Theorem 2.2), which
inverts the mixture sequential probability ratio test of Robbins (1970) as Johari, Koomen, Pekelis & Walsh,
"Always valid inference" (Operations Research 2022) use it for two arms. With ``sigma_t^2 = t * se^2``:

    radius = sigma_t * sqrt(2 (t rho^2 + 1) / (t^2 rho^2) * log(sqrt(t rho^2 + 1) / alpha))

Two choices are ours. The clock ``t`` counts information, not records: it is what an evenly split experiment
of independent observations would have needed for the same standard error. The estimated difference is a
Brownian motion in that clock whatever the order in which the arms were filled (Jennison & Turnbull 2000,
ch. 3: increments of the score are independent); in the number of records it is one only while their shares
stay as they are, which time slices do not. And no arm's variance is taken as less than that of both arms
together: a small arm of 0/1 outcomes that has not failed yet looks certain of itself, and an equal
challenger with 10 % of the units would be promoted in 5 % of the experiments at an accuracy of 0.95 and in
30 % at 0.99 for that alone.

`experiments.ab.simulation` shows the error rates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import lambertw

Values = float | NDArray[np.float64]
"""A number, or one for each of many experiments or looks."""


@dataclass(frozen=True)
class Arm:
    """What is known of one version's observations. Fields may be arrays of one shape: many looks at once."""

    count: Values
    """Observations."""
    mean: Values
    """Of the observations."""
    variance: Values
    """Of one observation, with ``count - 1`` in the denominator."""
    long_run_variance: Values
    """``count`` times the variance of the mean: `variance` for independent observations, more for those that
    come in clusters (`experiments.ab.cluster_sums`)."""


@dataclass(frozen=True)
class Interval:
    """Of the difference challenger - baseline."""

    difference: float
    """The estimate; nan where an arm is empty."""
    radius: float
    """Half the width; infinite while nothing can be said."""

    @property
    def lower(self) -> float:
        """Lower end."""
        return self.difference - self.radius

    @property
    def upper(self) -> float:
        """Upper end."""
        return self.difference + self.radius


def confidence_sequence(
    baseline: Arm, challenger: Arm, *, alpha: float = 0.05, tuned_for: float = 5_000, least: int = 100
) -> Interval:
    """The difference of the means with an interval that may be looked at any number of times; see `radius`."""
    found = radius(baseline, challenger, alpha=alpha, tuned_for=tuned_for, least=least)
    return Interval(float(challenger.mean - baseline.mean), float(found))


def radius(
    baseline: Arm, challenger: Arm, *, alpha: float = 0.05, tuned_for: float = 5_000, least: int = 100
) -> NDArray[np.float64]:
    """Half the width of the confidence sequence, of the arms' shape.

    Parameters
    ----------
    baseline, challenger : Arm
    alpha : float
        Probability that the true difference is ever outside, in (0, 1). An error in one given direction,
        such as promoting a challenger that is not better, has about half of it.
    tuned_for : float
        Observations, evenly split, at which the interval is narrowest. It is valid at any other number, a
        little wider: at a tenth of it by a quarter, at ten times by less than a tenth.
    least : int
        Burn-in: with fewer observations in either arm the interval is infinite. The theory is asymptotic;
        simulation says that 100 suffice for accuracies from 0.01 to 0.99.

    Returns
    -------
    float64 array
        Infinite, too, where no observation differs from any other: that says nothing about their variance.
    """
    n_b, n_c = np.asarray(baseline.count, dtype=np.float64), np.asarray(challenger.count, dtype=np.float64)
    with np.errstate(all="ignore"):  # empty arms are nan, and infinite below
        between = n_b * n_c / (n_b + n_c) ** 2 * (challenger.mean - baseline.mean) ** 2
        one_b, one_c = _floored(n_b, n_c, baseline.variance, challenger.variance, between)
        long_b, long_c = _floored(n_b, n_c, baseline.long_run_variance, challenger.long_run_variance, between)
        squared_error = long_b / n_b + long_c / n_c
        clock = 2 * (one_b + one_c) / squared_error
        scaled = clock * _rho_squared(alpha, tuned_for)
        width = np.sqrt(squared_error * 2 * (scaled + 1) / scaled * np.log(np.sqrt(scaled + 1) / alpha))
    known = (np.minimum(n_b, n_c) >= least) & (squared_error > 0)
    return np.where(known, width, np.inf)


def welch(baseline: Arm, challenger: Arm, *, alpha: float = 0.05) -> tuple[float, Interval]:
    """Welch's t-test (1947): p-value and interval. Valid only if looked at once, at a size fixed before.

    Observations count as independent. Both are nan with fewer than two in either arm or without any spread.
    """
    n_b, n_c = float(baseline.count), float(challenger.count)
    difference = float(challenger.mean - baseline.mean)
    if min(n_b, n_c) < 2 or not baseline.variance + challenger.variance > 0:
        return np.nan, Interval(difference, np.nan)
    parts = np.array([baseline.variance / n_b, challenger.variance / n_c])
    freedom = parts.sum() ** 2 / (parts**2 / np.array([n_b - 1, n_c - 1])).sum()
    error = np.sqrt(parts.sum())
    p = 2 * stats.t.sf(abs(difference) / error, freedom)
    return float(p), Interval(difference, float(stats.t.isf(alpha / 2, freedom) * error))


def _rho_squared(alpha: float, tuned_for: float) -> float:
    """The rho^2 with the least radius at ``t = tuned_for``.

    ``x = t rho^2`` minimises ``(x + 1) / x * log((x + 1) / alpha^2)``, so ``x = log(x + 1) - 2 log(alpha)``:
    ``x = -W(-alpha^2 / e) - 1`` with the lower branch of Lambert's W.
    """
    return float(-lambertw(-(alpha**2) / np.e, -1).real - 1) / tuned_for


def _floored(
    n_b: NDArray[np.float64], n_c: NDArray[np.float64], in_b: Values, in_c: Values, between: NDArray[np.float64]
) -> tuple[Any, Any]:
    """Each arm's variance, no less than that of both together about their common mean."""
    together = (n_b * in_b + n_c * in_c) / (n_b + n_c) + between
    return np.maximum(in_b, together), np.maximum(in_c, together)
