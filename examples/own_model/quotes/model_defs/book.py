"""Next move of the middle price, from the imbalance at the top of the book over the last quotes."""

from dataclasses import dataclass

import torch
from torch import nn

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Network, Output

QUOTES = 20
"""Quotes of one window."""
SCHEMA = FeatureSchema(
    name="book/1",
    columns=(Column("imbalance", "1"), Column("spread", "bps"), Column("move", "bps")),
    window=QUOTES + 1,
    time_steps=QUOTES,
)


@dataclass(frozen=True)
class GruConfig:
    hidden_size: int = 8
    """Size of the hidden state."""


class Gru(nn.Module):
    """Gated recurrent unit over a window of quotes.

    Shapes
    ------
    input : float32 [batch, 20, 3]
    output : float32 [batch, 1], the expected move in bps
    """

    def __init__(self, config: GruConfig) -> None:
        super().__init__()
        self.config = config
        self.gru = nn.GRU(3, config.hidden_size, batch_first=True)
        self.head = nn.Linear(config.hidden_size, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(windows)  # (B, T, H)
        return self.head(states[:, -1])  # (B, 1)


def build(config: dict) -> Gru:
    return Gru(GruConfig(**config))


SPEC = ModelSpec(
    name="book",
    networks=(Network("gru", "model_defs.book:GruConfig"),),
    features=FeatureSet(
        data=("quotes",), schema="model_defs.book:SCHEMA", streaming="model_defs.book_features:Features"
    ),
    outputs=(Output("move_bps", "bps"),),
)
