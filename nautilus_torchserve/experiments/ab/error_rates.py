"""What the statistics of experiments promise, shown by simulation."""

from dataclasses import asdict, dataclass
from typing import Any

from nautilus_torchserve.experiments.ab.dependence import DependentOutcomes, dependent_instruments, dependent_slices
from nautilus_torchserve.experiments.ab.simulation import BetterVersion, EqualVersions, better_version, equal_versions

SHARES = (0.5, 0.1)
ACCURACIES = (0.4, 0.55, 0.95)
GAINS = (0.02, 0.05, 0.10)
BASELINE = 0.55
"""Accuracy that a better challenger is better than."""


@dataclass(frozen=True)
class ErrorRates:
    """All simulations, under the default rules."""

    equal: tuple[EqualVersions, ...]
    """False promotions: `SHARES` x `ACCURACIES`."""
    better: tuple[BetterVersion, ...]
    """Time until promotion: `SHARES` x `GAINS`."""
    dependent: tuple[DependentOutcomes, ...]
    """False promotions where outcomes come in clusters: by slice, by instrument."""

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        return asdict(self)


def error_rates(experiments: int = 2_000, observations: int = 5_000, seed: int = 1) -> ErrorRates:
    """Simulate, some 25 s as it comes.

    Parameters
    ----------
    experiments, observations : int
        With equal versions; a fourth of the experiments in the other simulations.
    seed : int
        Of the draws.
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
