"""The delay that a run was asked for."""

from pathlib import Path

from nautilus_torchserve.latency.delay import ConstantDelay, Delay
from nautilus_torchserve.latency.profile import load_profile
from nautilus_torchserve.latency.queue import QueuedDelay


def chosen_delay(latency_ns: int, profile: Path | None, workers: int | None, seed: int) -> Delay:
    """The profile's latencies through a queue where there is a profile, else a constant.

    Parameters
    ----------
    latency_ns : int
        The constant, nanoseconds; of no account beside a profile.
    workers : int, optional
        Servers behind the queue; None takes as many as the profile was recorded from.
    seed : int
        Of the draws from the profile.

    Raises
    ------
    BadProfile
        The file cannot be read.
    """
    if profile is None:
        return ConstantDelay(latency_ns)
    recorded = load_profile(profile)
    return QueuedDelay(recorded, recorded.workers if workers is None else workers, seed)
