"""Sharpe ratios of backtests, and the deflated Sharpe ratio of the best of many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

PERIODS = 250
"""Number of equal periods that a run is divided into."""
_EULER = 0.5772156649015329
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Sharpe:
    """Sharpe ratio and moments of a run's gains over equal periods."""

    ratio: float
    """Mean over standard deviation, per period and not annualised."""
    skewness: float
    kurtosis: float
    """3 for normally distributed gains."""
    periods: int
    """Number of periods."""


def sharpe_of(equity: NDArray[np.float64]) -> Sharpe | None:
    """Return the Sharpe ratio of equity at the ends of equal periods, the start first; None where it never moves.

    The account does not grow by reinvesting, so gains are amounts; their ratio has no unit either way.
    """
    gains = np.diff(equity)
    deviation = float(gains.std())
    if deviation == 0:
        return None
    scaled = (gains - gains.mean()) / deviation
    return Sharpe(
        ratio=float(gains.mean()) / deviation,
        skewness=float((scaled**3).mean()),
        kurtosis=float((scaled**4).mean()),
        periods=len(gains),
    )


def expected_maximum(trials: int, deviation: float) -> float:
    """Return the Sharpe ratio expected of the best of N strategies without skill.

    Bailey & Lopez de Prado 2014, eq. 1: ``deviation * ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e)))``, g Euler's constant.

    Parameters
    ----------
    trials : int
        N, at least 2.
    deviation : float
        Standard deviation of the ratios over the trials.
    """
    upper, further = _NORMAL.inv_cdf(1 - 1 / trials), _NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return deviation * ((1 - _EULER) * upper + _EULER * further)


def deflated_sharpe(best: Sharpe, trials: int, deviation: float) -> float | None:
    """Return the probability that the best trial's true Sharpe ratio exceeds what selection alone would show.

    Bailey & Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014, eq. 2. Periods
    are taken as independent, and so are the trials: with similar settings they are fewer than counted.

    Returns
    -------
    float or None
        None where the moments leave the ratio no variance.
    """
    variance = 1 - best.skewness * best.ratio + (best.kurtosis - 1) / 4 * best.ratio**2
    if variance <= 0:
        return None
    excess = best.ratio - expected_maximum(trials, deviation)
    return _NORMAL.cdf(excess * math.sqrt(best.periods - 1) / math.sqrt(variance))


def deflated_best(ratios: Sequence[Sharpe]) -> float | None:
    """Return `deflated_sharpe` of the highest ratio; None for fewer than two, or when all are the same."""
    if len(ratios) < 2:
        return None
    deviation = float(np.std([sharpe.ratio for sharpe in ratios], ddof=1))
    best = max(ratios, key=lambda sharpe: sharpe.ratio)
    return deflated_sharpe(best, len(ratios), deviation) if deviation > 0 else None
