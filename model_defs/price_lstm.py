"""Recurrent network over a window of bars, with attention pooling over its states."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from model_defs.attention_pool import AttentionPool, AttentionPoolConfig
from model_defs.return_network import ReturnNetwork

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class PriceLSTMConfig:
    """Configuration of a `PriceLSTM`."""

    inputs: int = 5
    """Number of columns of a window."""
    hidden: int = 128
    """Size of a recurrent state."""
    layers: int = 2
    """Number of recurrent layers."""
    dropout: float = 0.1
    """Dropout probability between layers and of attention weights."""
    cell: Literal["lstm", "gru"] = "lstm"
    """Kind of recurrent cell."""

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"expected cell {' or '.join(CELLS)}, got {self.cell!r}")


class PriceLSTM(nn.Module):
    """Encoder: an LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014), attention over its states.

    The last state is concatenated with the attention pool: a mean over 60 states hides the newest bar, which is
    the most informative.

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
        self.pool = AttentionPool(AttentionPoolConfig(config.hidden, config.dropout))

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        states, _ = self.cells(window)  # (B, T, H)
        return torch.cat([states[:, -1], self.pool(states)], dim=1)  # (B, 2H)


def build(config: dict[str, Any]) -> nn.Module:
    """Build the whole network from ``model.json``'s ``network.config``."""
    encoder = PriceLSTMConfig(**config)
    return ReturnNetwork(PriceLSTM(encoder), encoder.inputs, 2 * encoder.hidden)
