"""What to train a sentiment model with, and how that is put together from what a command line says."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nautilus_torchserve.training.fit.checks import check_counts
from nautilus_torchserve.training.runs.config import read_config
from nautilus_torchserve.training.runs.options import choose_device, read_setting
from nautilus_torchserve.training.sentiment.fit import SentimentFitConfig

SECTIONS = ("fit",)


@dataclass(frozen=True)
class SentimentTraining:
    """What to train with."""

    fit: SentimentFitConfig = field(default_factory=SentimentFitConfig)
    """How to fit."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    threads: int = 2
    """Of the CPU; more fit quicker where there are more cores, and come to other last bits."""

    def __post_init__(self) -> None:
        check_counts(self, "threads")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
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
    values: dict[str, object] = {"seed": seed}
    for text in settings:
        _, name, value = read_setting(text, SECTIONS)
        values[name] = value
    fit = read_config(None, {"fit": SentimentFitConfig}, {"fit": values})["fit"]
    return SentimentTraining(fit, device=choose_device(device), threads=threads)
