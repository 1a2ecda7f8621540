"""Attention pooling over a sequence of states."""

import torch
from torch import nn


class AttentionPool(nn.Module):
    """Weighted mean over time, the weights learned (Bahdanau et al. 2015, eq. 5-6, without a query).

    Parameters
    ----------
    hidden : int
        Width of one state.
    dropout : float
        Probability of dropping a time step's weight while training.

    Shapes
    ------
    input : float32 [batch, time, hidden]
    output : float32 [batch, hidden]
    """

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1, bias=False)  # a bias would cancel in the softmax
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        weights = self.score(states).softmax(dim=1)  # (B, T, 1)
        return (self.dropout(weights) * states).sum(dim=1)  # (B, H)
