"""Settings of a sentiment model's training, from single settings and defaults."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nautilus_torchserve.training.fit.loop import check_at_least
from nautilus_torchserve.training.runs.config import choose_device, read_config
from nautilus_torchserve.training.sentiment.fit import SentimentFitConfig


@dataclass(frozen=True)
class SentimentTraining:
    """Settings of a training."""

    fit: SentimentFitConfig = field(default_factory=SentimentFitConfig)
    """Settings of the fit."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    threads: int = 2
    """Number of CPU threads. More fit faster where there are more cores, and give other last bits."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "threads")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def sentiment_training(
    settings: Sequence[str] = (), seed: int = 1, device: str = "auto", threads: int = 2
) -> SentimentTraining:
    """Put a training together.

    Parameters
    ----------
    settings : sequence of str
        Single values: ``fit.epochs=5``.
    device : str
        ``cpu``, ``cuda``, or ``auto`` for CUDA where there is one.

    Raises
    ------
    BadConfig
        A name or value that no training accepts.
    """
    fit = read_config(None, {"fit": SentimentFitConfig}, (f"fit.seed={seed}", *settings))["fit"]
    return SentimentTraining(fit, device=choose_device(device), threads=threads)
