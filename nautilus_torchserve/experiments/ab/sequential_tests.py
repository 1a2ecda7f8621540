"""Comparison of the means of two versions while the data come in, valid at any time.

A t-test is valid once, at a sample size fixed before: checked after every observation until p < 0.05 it promotes an
equal challenger one time in three. The interval here holds at all sample sizes at once: with probability 1 - alpha it
contains the true difference at **every** check, so any stopping rule is allowed.

It is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform
central limit theory and asymptotic confidence sequences" (Annals of Statistics 2024, Theorem 2.2), which
inverts the mixture sequential probability ratio test of Robbins (1970) as Johari, Koomen, Pekelis & Walsh,
"Always valid inference" (Operations Research 2022) use it for two arms. With ``sigma_t^2 = t * se^2``:

    radius = sigma_t * sqrt(2 (t rho^2 + 1) / (t^2 rho^2) * log(sqrt(t rho^2 + 1) / alpha))

Two choices go beyond the paper. The clock ``t`` counts information, not records: it is what an evenly split experiment
of independent observations would have needed for the same standard error. The estimated difference is a
Brownian motion in that clock whatever the order in which the arms were filled (Jennison & Turnbull 2000,
ch. 3: increments of the score are independent); in the number of records it is one only while the shares
are constant, which they are not with time slices. And no arm's variance is taken as less than that of both arms
together: a small arm of 0/1 outcomes without a failure has no variance yet, and for that alone an equal
challenger with 10 % of the units would be promoted in 5 % of the experiments at an accuracy of 0.95 and in
30 % at 0.99.

`experiments.ab.simulation` measures the error rates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import lambertw

Values = float | NDArray[np.float64]
"""A number, or one for each of many experiments or checks."""


@dataclass(frozen=True)
class Arm:
    """Statistics of one version's observations. Fields may be arrays of one shape, for many checks at once."""

    count: Values
    """Number of observations."""
    mean: Values
    """Mean of the observations."""
    variance: Values
    """Variance of one observation, with ``count - 1`` in the denominator."""
    long_run_variance: Values
    """``count`` times the variance of the mean: `variance` for independent observations, more for clustered ones
    (`experiments.ab.metrics`)."""


@dataclass(frozen=True)
class Interval:
    """Interval of the difference challenger - baseline."""

    difference: float
    """The estimate; nan where an arm is empty."""
    radius: float
    """Half the width; infinite while nothing is known."""

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
    """Return the difference of the means with an interval that is valid at any time; see `radius`."""
    half_width = radius(baseline, challenger, alpha=alpha, tuned_for=tuned_for, least=least)
    return Interval(float(challenger.mean - baseline.mean), float(half_width))


def radius(
    baseline: Arm, challenger: Arm, *, alpha: float = 0.05, tuned_for: float = 5_000, least: int = 100
) -> NDArray[np.float64]:
    """Return half the width of the confidence sequence, in the arms' shape.

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
        by simulation 100 suffice for accuracies from 0.01 to 0.99.

    Returns
    -------
    float64 array
        Infinite, too, where all observations are equal, which says nothing about their variance.
    """
    n_b, n_c = np.asarray(baseline.count, dtype=np.float64), np.asarray(challenger.count, dtype=np.float64)
    with np.errstate(all="ignore"):  # empty arms give nan here, and infinity below
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
    """Return p-value and interval of Welch's t-test (1947), which is valid once, at a sample size fixed before.

    Observations count as independent. Both are nan with fewer than two in either arm or without any variance.
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
    """Return the rho^2 with the least radius at ``t = tuned_for``.

    ``x = t rho^2`` minimises ``(x + 1) / x * log((x + 1) / alpha^2)``, so ``x = log(x + 1) - 2 log(alpha)``:
    ``x = -W(-alpha^2 / e) - 1`` with the lower branch of Lambert's W.
    """
    return float(-lambertw(-(alpha**2) / np.e, -1).real - 1) / tuned_for


def _floored(
    n_b: NDArray[np.float64], n_c: NDArray[np.float64], in_b: Values, in_c: Values, between: NDArray[np.float64]
) -> tuple[Any, Any]:
    """Return each arm's variance, no less than that of both together about their common mean."""
    together = (n_b * in_b + n_c * in_c) / (n_b + n_c) + between
    return np.maximum(in_b, together), np.maximum(in_c, together)
