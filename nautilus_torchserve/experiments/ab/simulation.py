"""Simulated experiments: how often equal versions are promoted, and how long a better one takes.

Outcomes are drawn; intervals and margins are those of real experiments. The blocks of time that a promotion waits for
are not simulated here: without them false promotions can only be more frequent.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nautilus_torchserve.experiments.ab.dependence import DependentOutcomes, dependent_instruments, dependent_slices
from nautilus_torchserve.experiments.ab.rules import DEFAULT_RULES, accuracy_promotes, accuracy_radius
from nautilus_torchserve.experiments.ab.sequential_tests import Arm

SHARES = (0.5, 0.1)
ACCURACIES = (0.4, 0.55, 0.95)
GAINS = (0.02, 0.05, 0.10)
BASELINE = 0.55
"""The baseline's accuracy where the challenger is better."""
_CHUNK = 100
"""Experiments held in memory at once."""
_LOOKS = 1_000
"""Checks of such an experiment, evenly spread."""
_TIMES = 10
"""Length of an experiment with a better version, in times of what it takes until the interval is within the gain."""


@dataclass(frozen=True)
class EqualVersions:
    """Result of experiments with two equal versions, with a check after every observation."""

    accuracy: float
    """Accuracy of both."""
    share: float
    """The challenger's share."""
    experiments: int
    observations: int
    """Observations of each experiment, of both versions together."""
    promoted: float
    """Share of the experiments that ever met the rule for promotion, falsely."""
    excluded: float
    """Share in which the confidence sequence ever excluded the truth, on either side."""
    welch_promoted: float
    """Share that the same margin with Welch's t-test at every check would have promoted."""
    welch_excluded: float
    """Share in which Welch's t-test at every check ever excluded the truth, on either side."""


@dataclass(frozen=True)
class BetterVersion:
    """Number of observations until a better challenger is promoted."""

    accuracy: float
    """The baseline's accuracy."""
    gain: float
    """The challenger's accuracy less the baseline's."""
    share: float
    """The challenger's share."""
    experiments: int
    observations: int
    """Observations after which an experiment was given up, of both versions together."""
    promoted: float
    """Share that was promoted until then."""
    half: int | None
    """Observations by which half of them were promoted; None where fewer were."""
    nine_in_ten: int | None
    """Likewise for nine in ten."""


@dataclass(frozen=True)
class ErrorRates:
    """Results of all simulations, under the default rules."""

    equal: tuple[EqualVersions, ...]
    """False promotions: `SHARES` x `ACCURACIES`."""
    better: tuple[BetterVersion, ...]
    """Time until promotion: `SHARES` x `GAINS`."""
    dependent: tuple[DependentOutcomes, ...]
    """False promotions where outcomes come in clusters: by slice, by instrument."""

    def as_dict(self) -> dict[str, Any]:
        """Return the results in plain JSON types."""
        return asdict(self)


def error_rates(experiments: int = 2_000, observations: int = 5_000, seed: int = 1) -> ErrorRates:
    """Run all simulations, which takes about 25 s with the defaults.

    Parameters
    ----------
    experiments, observations : int
        Size of the simulations with equal versions; the others have a fourth of the experiments.
    seed : int
        Seed of the draws.
    """
    fewer = max(1, experiments // 4)
    return ErrorRates(
        tuple(
            equal_versions(accuracy, share, experiments, observations, seed=seed)
            for share in SHARES
            for accuracy in ACCURACIES
        ),
        tuple(better_version(BASELINE, gain, share, fewer, seed=seed) for share in SHARES for gain in GAINS),
        (dependent_slices(fewer, seed=seed), dependent_instruments(fewer, seed=seed)),
    )


def equal_versions(
    accuracy: float, share: float, experiments: int, observations: int, seed: int = 1, gain: float = 0.0
) -> EqualVersions:
    """Simulate experiments that are checked after every observation.

    Parameters
    ----------
    accuracy, share : float
        In (0, 1).
    experiments, observations : int
    seed : int
        Seed of the draws.
    gain : float
        The challenger's true accuracy less the baseline's. Where it is not 0, only ``excluded`` and
        ``welch_excluded`` count errors.
    """
    random = np.random.default_rng(seed)
    sizes = [min(_CHUNK, experiments - done) for done in range(0, experiments, _CHUNK)]
    counts = np.sum([_counts(random, size, accuracy, share, observations, gain) for size in sizes], axis=0)
    return EqualVersions(accuracy, share, experiments, observations, *(counts / experiments).tolist())


def better_version(accuracy: float, gain: float, share: float, experiments: int, seed: int = 1) -> BetterVersion:
    """Count the observations until a challenger whose accuracy is higher by ``gain`` is promoted."""
    random = np.random.default_rng(seed)
    step = max(1, round(_TIMES * _observations_for(gain, accuracy, share) / _LOOKS))
    of_challenger = random.binomial(step, share, (experiments, _LOOKS))
    of_baseline = step - of_challenger
    baseline = _arm(np.cumsum(random.binomial(of_baseline, accuracy), axis=1), np.cumsum(of_baseline, axis=1))
    right = random.binomial(of_challenger, accuracy + gain)
    challenger = _arm(np.cumsum(right, axis=1), np.cumsum(of_challenger, axis=1))
    promoted = accuracy_promotes(baseline, challenger)
    observations = np.sort(step * np.where(promoted.any(axis=1), promoted.argmax(axis=1) + 1, np.inf))
    half, nine_in_ten = (observations[int(np.ceil(quantile * experiments)) - 1] for quantile in (0.5, 0.9))
    return BetterVersion(
        accuracy,
        gain,
        share,
        experiments,
        step * _LOOKS,
        float(np.isfinite(observations).mean()),
        int(half) if np.isfinite(half) else None,
        int(nine_in_ten) if np.isfinite(nine_in_ten) else None,
    )


def _counts(
    random: np.random.Generator, experiments: int, accuracy: float, share: float, observations: int, gain: float
) -> list[int]:
    """Count the experiments that were promoted, that excluded the truth, and both by Welch."""
    with_challenger = random.random((experiments, observations)) < share
    right = random.random((experiments, observations)) < accuracy + gain * with_challenger
    count_c = np.cumsum(with_challenger, axis=1, dtype=np.int32)
    right_c = np.cumsum(right & with_challenger, axis=1, dtype=np.int32)
    count_b = np.arange(1, observations + 1, dtype=np.int32) - count_c
    baseline = _arm(np.cumsum(right, axis=1, dtype=np.int32) - right_c, count_b)
    challenger = _arm(right_c, count_c)
    difference = np.asarray(challenger.mean - baseline.mean)
    anytime = accuracy_radius(baseline, challenger)
    freedom = DEFAULT_RULES.least_predictions - 1  # the fewest possible, in favour of Welch
    with np.errstate(all="ignore"):
        error = np.sqrt(baseline.variance / count_b + challenger.variance / count_c)
    known = np.minimum(count_b, count_c) >= DEFAULT_RULES.least_predictions
    fixed = np.where(known, stats.t.isf(DEFAULT_RULES.alpha / 2, freedom) * error, np.inf)
    return [
        int(ever.any(axis=1).sum())
        for width in (anytime, fixed)
        for ever in (
            (difference >= DEFAULT_RULES.promote_accuracy) & (difference > width),
            np.abs(difference - gain) > width,
        )
    ]


def _observations_for(gain: float, accuracy: float, share: float) -> int:
    """Return how many observations it takes until the interval is as narrow as the gain."""
    variance, count = accuracy * (1 - accuracy), 10.0
    while True:
        baseline, challenger = (Arm(part * count, accuracy, variance, variance) for part in (1 - share, share))
        if accuracy_radius(baseline, challenger) <= gain:
            return round(count)
        count *= 1.05


def _arm(right: NDArray[Any], count: NDArray[Any]) -> Arm:
    """Return the arm of independent predictions, of which so many were right."""
    with np.errstate(all="ignore"):  # arms of no or one prediction
        mean = right / count
        variance = mean * (1 - mean) * count / (count - 1)
    return Arm(count, mean, variance, variance)
