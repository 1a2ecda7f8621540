"""Attention pooling over a sequence of hidden states."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class AttentionPoolConfig:
    """Configuration of an `AttentionPool`."""

    hidden: int
    """Size of one hidden state."""
    dropout: float
    """Dropout probability of a time step's weight during training."""


class AttentionPool(nn.Module):
    """Weighted mean over time with learned weights (Bahdanau et al. 2015, eq. 5-6, without a query).

    Shapes
    ------
    input : float32 [batch, time, hidden]
    output : float32 [batch, hidden]
    """

    def __init__(self, config: AttentionPoolConfig) -> None:
        super().__init__()
        self.score = nn.Linear(config.hidden, 1, bias=False)  # a bias would cancel in the softmax
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        weights = self.score(states).softmax(dim=1)  # (B, T, 1)
        return (self.dropout(weights) * states).sum(dim=1)  # (B, H)
