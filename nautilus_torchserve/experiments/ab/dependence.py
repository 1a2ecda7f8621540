"""Simulated experiments with equal versions and clustered outcomes: false promotions with and without clustering."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.experiments.ab.rules import DEFAULT_RULES, accuracy_promotes
from nautilus_torchserve.experiments.ab.sequential_tests import Arm

Floats = NDArray[np.float64]
_ACCURACY = 0.55
"""Mean accuracy of both versions."""


@dataclass(frozen=True)
class DependentOutcomes:
    """Frequency of promotions of equal versions, with a check after every block of time."""

    what: str
    """Description of the dependence."""
    experiments: int
    promoted: float
    """Share of the experiments promoted as real ones are: by clusters, with the least blocks and instruments."""
    one_by_one: float
    """Share that would be promoted if every prediction counted as independent."""


def dependent_slices(experiments: int, seed: int = 1, *, slices: int = 300) -> DependentOutcomes:
    """Simulate splits by time, where some slices are easier than others for any model.

    Parameters
    ----------
    slices : int
        Slices of an experiment.
    """
    share, predictions, deviation = 0.5, 200, 0.05  # the challenger's, in a slice, of a slice's accuracy
    random = np.random.default_rng(seed)
    shape = (experiments, slices)
    right = random.binomial(predictions, _around(random, deviation, shape))
    with_challenger = random.random(shape) < share
    slices_of = (~with_challenger, with_challenger)
    arms = [by_blocks(right * selected, predictions * selected) for selected in slices_of]
    enough = np.minimum(*(np.cumsum(selected, axis=1) for selected in slices_of)) >= DEFAULT_RULES.least_blocks
    return _outcome(
        f"{slices} slices of {predictions} predictions, some easier for any model (by {100 * deviation:g} points), "
        f"{share:.0%} with the challenger",
        experiments,
        arms,
        enough,
    )


def dependent_instruments(
    experiments: int, seed: int = 1, *, instruments: int = 20, challengers: int = 4, blocks: int = 100
) -> DependentOutcomes:
    """Simulate splits by instrument, where some instruments are easier than others for any model.

    Parameters
    ----------
    instruments, challengers : int
        Instruments, and how many of them are with the challenger.
    blocks : int
        Blocks of time of an experiment.
    """
    predictions, deviation = 20, 0.03  # of each instrument in each block, of an instrument's accuracy
    random = np.random.default_rng(seed)
    accuracies = _around(random, deviation, (experiments, 1, instruments))
    right = random.binomial(predictions, np.broadcast_to(accuracies, (experiments, blocks, instruments)))
    arms = [
        by_blocks_and_instruments(right[:, :, part], predictions)
        for part in (slice(challengers, None), slice(challengers))
    ]
    enough = np.arange(1, blocks + 1) >= DEFAULT_RULES.least_blocks
    if min(challengers, instruments - challengers) < DEFAULT_RULES.least_instruments:
        enough &= False
    return _outcome(
        f"{instruments} instruments, some easier for any model (by {100 * deviation:g} points), {challengers} with the "
        "challenger",
        experiments,
        arms,
        enough,
    )


def _outcome(description: str, experiments: int, arms: list[Arm], enough: NDArray[np.bool_]) -> DependentOutcomes:
    independent = [replace(arm, long_run_variance=arm.variance) for arm in arms]
    promoted, one_by_one = (
        float((accuracy_promotes(baseline, challenger) & checked).any(axis=1).mean())
        for (baseline, challenger), checked in ((arms, enough), (independent, np.ones_like(enough)))
    )
    return DependentOutcomes(description, experiments, promoted, one_by_one)


def _around(random: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Floats:
    return np.clip(random.normal(_ACCURACY, deviation, shape), 0.0, 1.0)


def by_blocks(right: NDArray[Any], counts: NDArray[Any]) -> Arm:
    """Return `experiments.ab.metrics.ClusterSums.arm` after each block [experiments, blocks].

    Blocks without predictions do not count.
    """
    count, total, blocks = (_running(values) for values in (counts, right, counts > 0))
    with np.errstate(all="ignore"):  # before the second block
        mean = total / count
        variance = mean * (1 - mean) * count / (count - 1)
        squares, products, sizes = (_running(values) for values in (right**2, right * counts, counts**2))
        residuals = squares - 2 * mean * products + mean**2 * sizes
        between = np.where(blocks > 1, blocks / (blocks - 1) * residuals / count, 0.0)
    return Arm(count, mean, variance, np.maximum(variance, between))


def _running(values: NDArray[Any]) -> Floats:
    """Return the sums up to each block."""
    return np.cumsum(values, axis=1, dtype=np.float64)


def by_blocks_and_instruments(right: NDArray[np.int64], predictions: int) -> Arm:
    """Return the same with instruments as clusters, too [experiments, blocks, instruments]."""
    instruments = right.shape[2]
    arm = by_blocks(right.sum(axis=2), np.full(right.shape[:2], predictions * instruments))
    if instruments < 2:
        return arm
    counts = predictions * np.arange(1, right.shape[1] + 1)[:, None]  # an instrument's predictions after each block
    residuals = np.cumsum(right, axis=1) - counts * np.asarray(arm.mean)[:, :, None]
    between = instruments / (instruments - 1) * (residuals**2).sum(axis=2) / arm.count
    return replace(arm, long_run_variance=np.maximum(arm.long_run_variance, between))
