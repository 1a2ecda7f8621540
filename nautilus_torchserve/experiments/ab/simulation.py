"""Experiments on made-up versions: how often equal ones are promoted, and how long a better one takes.

Outcomes are drawn; intervals and margins are those that real experiments are decided by. The blocks of time that
a promotion waits for are not simulated here: without them false promotions can only be more frequent.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nautilus_torchserve.experiments.ab.rules import DEFAULT_RULES, Rules
from nautilus_torchserve.experiments.ab.sequential_tests import Arm, radius

_CHUNK = 100
"""Experiments held in memory at once."""
_TIMES = 10
"""How many times as long as it takes until the interval is as narrow as the gain, a better version is given."""


@dataclass(frozen=True)
class EqualVersions:
    """What became of experiments with two versions as good as each other, looked at after every observation."""

    accuracy: float
    """Of both."""
    share: float
    """The challenger's."""
    experiments: int
    observations: int
    """Of each experiment, both versions together."""
    promoted: float
    """Share of the experiments that ever met the rule for promotion: a false one."""
    excluded: float
    """Share in which the confidence sequence ever excluded the truth, on either side."""
    welch_promoted: float
    """Share that the same margin with Welch's t-test at every look would have promoted."""
    welch_excluded: float
    """Share in which Welch's t-test at every look ever excluded the truth, on either side."""


@dataclass(frozen=True)
class BetterVersion:
    """How long a challenger that is better takes to be promoted."""

    accuracy: float
    """The baseline's."""
    gain: float
    """By how much the challenger's is higher."""
    share: float
    """The challenger's."""
    experiments: int
    observations: int
    """At which an experiment was given up, both versions together."""
    promoted: float
    """Share that was promoted until then."""
    half: int | None
    """Observations by which half of them were promoted; None where fewer were."""
    nine_in_ten: int | None
    """Likewise nine in ten."""


def equal_versions(
    accuracy: float,
    share: float,
    experiments: int,
    observations: int,
    rules: Rules = DEFAULT_RULES,
    seed: int = 1,
    gain: float = 0.0,
) -> EqualVersions:
    """Look at experiments after every observation.

    Parameters
    ----------
    accuracy, share : float
        In (0, 1).
    experiments, observations : int
    seed : int
        Of the draws.
    gain : float
        By how much the challenger is better in truth. Then only what ``excluded`` and ``welch_excluded`` say
        is an error.
    """
    random = np.random.default_rng(seed)
    sizes = [min(_CHUNK, experiments - done) for done in range(0, experiments, _CHUNK)]
    counts = np.sum([_looks(random, size, accuracy, share, observations, rules, gain) for size in sizes], axis=0)
    return EqualVersions(accuracy, share, experiments, observations, *(counts / experiments).tolist())


def better_version(
    accuracy: float,
    gain: float,
    share: float,
    experiments: int,
    rules: Rules = DEFAULT_RULES,
    seed: int = 1,
    looks: int = 1_000,
) -> BetterVersion:
    """Count the observations until a challenger whose accuracy is higher by ``gain`` is promoted.

    Parameters
    ----------
    looks : int
        How often an experiment is looked at, evenly spread.
    """
    random = np.random.default_rng(seed)
    step = max(1, round(_TIMES * _observations_for(gain, accuracy, share, rules) / looks))
    tries = random.binomial(step, share, (experiments, looks))
    baseline = _arm(np.cumsum(random.binomial(step - tries, accuracy), axis=1), np.cumsum(step - tries, axis=1))
    challenger = _arm(np.cumsum(random.binomial(tries, accuracy + gain), axis=1), np.cumsum(tries, axis=1))
    promoted = promotes(baseline, challenger, rules)
    taken = np.sort(step * np.where(promoted.any(axis=1), promoted.argmax(axis=1) + 1, np.inf))
    half, nine_in_ten = (taken[int(np.ceil(quantile * experiments)) - 1] for quantile in (0.5, 0.9))
    return BetterVersion(
        accuracy,
        gain,
        share,
        experiments,
        step * looks,
        float(np.isfinite(taken).mean()),
        int(half) if np.isfinite(half) else None,
        int(nine_in_ten) if np.isfinite(nine_in_ten) else None,
    )


def promotes(baseline: Arm, challenger: Arm, rules: Rules) -> NDArray[np.bool_]:
    """Whether accuracy alone calls for promotion, for arms whose fields are arrays."""
    difference = np.asarray(challenger.mean - baseline.mean)
    width = radius(baseline, challenger, alpha=rules.alpha, tuned_for=rules.tuned_for, least=rules.least_predictions)
    return np.asarray((difference >= rules.promote_accuracy) & (difference > width))


def _looks(
    random: np.random.Generator,
    experiments: int,
    accuracy: float,
    share: float,
    observations: int,
    rules: Rules,
    gain: float,
) -> list[int]:
    """How many of the experiments were promoted, excluded the truth, and both by Welch."""
    with_challenger = random.random((experiments, observations)) < share
    right = random.random((experiments, observations)) < accuracy + gain * with_challenger
    count_c = np.cumsum(with_challenger, axis=1, dtype=np.int32)
    right_c = np.cumsum(right & with_challenger, axis=1, dtype=np.int32)
    count_b = np.arange(1, observations + 1, dtype=np.int32) - count_c
    baseline = _arm(np.cumsum(right, axis=1, dtype=np.int32) - right_c, count_b)
    challenger = _arm(right_c, count_c)
    difference = np.asarray(challenger.mean - baseline.mean)
    anytime = radius(baseline, challenger, alpha=rules.alpha, tuned_for=rules.tuned_for, least=rules.least_predictions)
    freedom = rules.least_predictions - 1  # the fewest that it can be: Welch is not made worse than it is
    with np.errstate(all="ignore"):
        error = np.sqrt(baseline.variance / count_b + challenger.variance / count_c)
    known = np.minimum(count_b, count_c) >= rules.least_predictions
    fixed = np.where(known, stats.t.isf(rules.alpha / 2, freedom) * error, np.inf)
    return [
        int(ever.any(axis=1).sum())
        for width in (anytime, fixed)
        for ever in ((difference >= rules.promote_accuracy) & (difference > width), np.abs(difference - gain) > width)
    ]


def _observations_for(gain: float, accuracy: float, share: float, rules: Rules) -> int:
    """How many observations it takes until the interval is as narrow as the gain."""
    variance, count = accuracy * (1 - accuracy), 10.0
    while True:
        arms = [Arm(part * count, accuracy, variance, variance) for part in (1 - share, share)]
        if radius(*arms, alpha=rules.alpha, tuned_for=rules.tuned_for, least=rules.least_predictions) <= gain:
            return round(count)
        count *= 1.05


def _arm(right: NDArray[Any], count: NDArray[Any]) -> Arm:
    """Independent answers, of which so many were right."""
    with np.errstate(all="ignore"):  # arms of none or one
        mean = right / count
        variance = mean * (1 - mean) * count / (count - 1)
    return Arm(count, mean, variance, variance)
