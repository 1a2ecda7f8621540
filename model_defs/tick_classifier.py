"""Classifier of the next move from one row of tick features."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

CLASSES = ("buy", "sell", "hold")
"""Index 0 BUY: the price rises beyond the cost threshold; 1 SELL: it falls; 2 HOLD: neither."""


@dataclass(frozen=True)
class TickClassifierConfig:
    """Configuration of a `TickClassifier`."""

    inputs: int = 4
    """Number of columns of a row."""
    hidden: int = 32
    """Size of the hidden layer."""
    clip: float = 5.0
    """Standardised inputs are clamped to +-clip, so that no outlier leaves the fitted range."""


class TickClassifier(nn.Module):
    """A perceptron with one hidden layer over standardised features.

    The fitted scaler (``center``, ``scale``) is part of the model: callers send raw features.

    Parameters
    ----------
    config : TickClassifierConfig

    Shapes
    ------
    input : float32 [batch, 4]
    output : float32 [batch, 3], logits in the order of `CLASSES`
    """

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(self, config: TickClassifierConfig) -> None:
        super().__init__()
        self.clip = config.clip
        self.register_buffer("center", torch.zeros(config.inputs))
        self.register_buffer("scale", torch.ones(config.inputs))
        self.hidden = nn.Linear(config.inputs, config.hidden)
        self.output = nn.Linear(config.hidden, len(CLASSES))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        standard = ((rows - self.center) / self.scale).clamp(-self.clip, self.clip)  # (B, 4)
        return self.output(self.hidden(standard).relu())  # (B, 3)


def build(config: dict[str, Any]) -> nn.Module:
    """Build the whole network from ``model.json``'s ``network.config``."""
    return TickClassifier(TickClassifierConfig(**config))
