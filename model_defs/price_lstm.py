"""Recurrent network over a window of bars, its states pooled by attention over time."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from model_defs.attention_pool import AttentionPool
from model_defs.return_network import ReturnNetwork

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class PriceLSTMConfig:
    """Shape of a `PriceLSTM`."""

    inputs: int = 5
    """Columns of a window."""
    hidden: int = 128
    """Width of a state."""
    layers: int = 2
    """Recurrent layers."""
    dropout: float = 0.1
    """Between layers and on the attention's weights, while training."""
    cell: Literal["lstm", "gru"] = "lstm"
    """Kind of recurrent cell."""

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"expected cell {' or '.join(CELLS)}, got {self.cell!r}")


class PriceLSTM(nn.Module):
    """Encoder: an LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014), attention over its states.

    The last state goes beside what attention picked: a mean over 60 states hides what the newest bar did,
    which is most of what there is to know.

    Shapes
    ------
    input : float32 [batch, time, inputs], standardised
    output : float32 [batch, 2 * hidden]
    """

    def __init__(self, config: PriceLSTMConfig) -> None:
        super().__init__()
        self.cells = CELLS[config.cell](
            config.inputs,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.pool = AttentionPool(config.hidden, config.dropout)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        states, _ = self.cells(window)  # (B, T, H)
        return torch.cat([states[:, -1], self.pool(states)], dim=1)  # (B, 2H)


def build(config: dict[str, Any]) -> nn.Module:
    """The whole network from ``model.json``'s ``network.config``."""
    shape = PriceLSTMConfig(**config)
    return ReturnNetwork(PriceLSTM(shape), shape.inputs, 2 * shape.hidden)
