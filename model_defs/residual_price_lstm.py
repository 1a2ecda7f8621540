"""Deep recurrent network over a window of bars: residual LSTM layers, then self-attention over time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from model_defs.attention_pool import AttentionPool, AttentionPoolConfig
from model_defs.return_network import ReturnNetwork


@dataclass(frozen=True)
class ResidualPriceLSTMConfig:
    """Configuration of a `ResidualPriceLSTM`."""

    inputs: int = 5
    """Number of columns of a window."""
    hidden: int = 256
    """Size of a recurrent state."""
    layers: int = 3
    """Number of recurrent layers, each with a residual connection around it."""
    heads: int = 8
    """Number of attention heads; must divide ``hidden``."""
    dropout: float = 0.1
    """Dropout probability of each layer's output and of attention weights."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"expected layers of at least 1, got {self.layers}")
        if self.heads < 1 or self.hidden % self.heads:
            raise ValueError(f"expected hidden as a multiple of heads, got {self.hidden} with {self.heads} heads")


class ResidualPriceLSTM(nn.Module):
    """Encoder: LSTM layers and multi-head self-attention (Vaswani et al. 2017), each added to its input.

    Layer norm comes before each (Xiong et al. 2020), so that the sum of residuals reaches the output
    unchanged and a deep stack needs no warm-up. The output is the last state, concatenated with the
    attention pool over all states.

    Shapes
    ------
    input : float32 [batch, time, inputs], standardised
    output : float32 [batch, 2 * hidden]
    """

    def __init__(self, config: ResidualPriceLSTMConfig) -> None:
        super().__init__()
        self.embedding = nn.Linear(config.inputs, config.hidden)
        self.layers = nn.ModuleList(ResidualLSTM(config.hidden, config.dropout) for _ in range(config.layers))
        self.attention = ResidualAttention(config.hidden, config.heads, config.dropout)
        self.norm = nn.LayerNorm(config.hidden)
        self.pool = AttentionPool(AttentionPoolConfig(config.hidden, config.dropout))

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        states = self.embedding(window)  # (B, T, H)
        for layer in self.layers:
            states = layer(states)  # (B, T, H)
        states = self.norm(self.attention(states))  # (B, T, H)
        return torch.cat([states[:, -1], self.pool(states)], dim=1)  # (B, 2H)


class ResidualLSTM(nn.Module):
    """One LSTM layer, added to its input.

    Shapes
    ------
    input : float32 [batch, time, hidden]
    output : float32 [batch, time, hidden]
    """

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.cells = nn.LSTM(hidden, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        residual, _ = self.cells(self.norm(states))  # (B, T, H)
        return states + self.dropout(residual)  # (B, T, H)


class ResidualAttention(nn.Module):
    """Multi-head self-attention over time, added to its input.

    Shapes
    ------
    input : float32 [batch, time, hidden]
    output : float32 [batch, time, hidden]
    """

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.heads = nn.MultiheadAttention(hidden, heads, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        normed = self.norm(states)  # (B, T, H)
        residual, _ = self.heads(normed, normed, normed, need_weights=False)  # (B, T, H)
        return states + self.dropout(residual)  # (B, T, H)


def build(config: dict[str, Any]) -> nn.Module:
    """Build the whole network from ``model.json``'s ``network.config``."""
    encoder = ResidualPriceLSTMConfig(**config)
    return ReturnNetwork(ResidualPriceLSTM(encoder), encoder.inputs, 2 * encoder.hidden)
