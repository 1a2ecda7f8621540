"""Selection of a run's delay: constant or from a recorded profile."""

from pathlib import Path

from nautilus_torchserve.latency.delay import ConstantDelay, Delay
from nautilus_torchserve.latency.profile import load_profile
from nautilus_torchserve.latency.queue import QueuedDelay


def chosen_delay(latency_ns: int, profile: Path | None, workers: int | None, seed: int) -> Delay:
    """Return the queued delay of a profile if there is one, else a constant delay.

    Parameters
    ----------
    latency_ns : int
        The constant, nanoseconds; ignored if there is a profile.
    workers : int, optional
        Servers behind the queue; None takes as many as the profile was recorded from.
    seed : int
        Seed of the draws from the profile.

    Raises
    ------
    BadProfile
        The file cannot be read.
    """
    if profile is None:
        return ConstantDelay(latency_ns)
    recorded = load_profile(profile)
    return QueuedDelay(recorded, recorded.workers if workers is None else workers, seed)
