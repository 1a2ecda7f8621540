"""Probability that the price rises over the next five minutes, from indicators and order flow."""

from dataclasses import dataclass

import torch
from torch import nn

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Network, Output

SCHEMA = FeatureSchema(
    name="momentum/1",
    columns=(Column("rsi", "1"), Column("ema_gap", "bps"), Column("atr", "bps"), Column("flow", "1")),
    window=14,
)


@dataclass(frozen=True)
class MlpConfig:
    hidden_size: int = 16
    """Size of the hidden layer."""
    mean: tuple[float, ...] = (0.5, 0.0, 5.0, 0.0)
    """Mean of each feature over the fit's data."""
    scale: tuple[float, ...] = (0.2, 5.0, 5.0, 0.5)
    """Standard deviation of each feature over the fit's data."""


class Mlp(nn.Module):
    """Multilayer perceptron on standardised features.

    Shapes
    ------
    input : float32 [batch, 4]
    output : float32 [batch, 2], logits of UP and DOWN
    """

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean))
        self.register_buffer("scale", torch.tensor(config.scale))
        self.layers = nn.Sequential(nn.Linear(4, config.hidden_size), nn.ReLU(), nn.Linear(config.hidden_size, 2))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layers((rows - self.mean) / self.scale)  # (B, 2)


def build(config: dict) -> Mlp:
    return Mlp(MlpConfig(**config))


SPEC = ModelSpec(
    name="momentum",
    networks=(Network("mlp", "model_defs.momentum:MlpConfig"),),
    features=FeatureSet(
        data=("trades", "bars:1-MINUTE-LAST-INTERNAL"),
        schema="model_defs.momentum:SCHEMA",
        streaming="model_defs.momentum_features:Features",
        warm_up=60,  # by then the exponential average has forgotten where the data began
    ),
    outputs=(Output("up"), Output("down")),
    activation="softmax",
)
