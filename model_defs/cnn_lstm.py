"""Convolutions that find short patterns in bars and indicators, then an LSTM that puts them in order."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from model_defs.attention_pool import AttentionPool, AttentionPoolConfig
from model_defs.return_network import ReturnNetwork


@dataclass(frozen=True)
class CnnLSTMConfig:
    """Configuration of a `CnnLSTM`."""

    inputs: int = 13
    """Number of columns of a window: five of a bar, eight of `features.bar`; 5 without them."""
    channels: int = 64
    """Number of channels of each convolution."""
    kernel: int = 3
    """Kernel size of a convolution (bars)."""
    convolutions: int = 3
    """Number of stacked convolutions, each with twice the dilation of the one before."""
    hidden: int = 128
    """Size of a recurrent state."""
    layers: int = 1
    """Number of recurrent layers."""
    dropout: float = 0.1
    """Dropout probability after the convolutions, between recurrent layers and of attention weights."""

    def __post_init__(self) -> None:
        for name in ("kernel", "convolutions", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")


class CnnLSTM(nn.Module):
    """Encoder: dilated causal convolutions (Bai et al. 2018), an LSTM over them, attention over its states.

    As in `model_defs.price_lstm`, the last state is concatenated with the attention pool.

    Shapes
    ------
    input : float32 [batch, time, inputs], standardised
    output : float32 [batch, 2 * hidden]
    """

    def __init__(self, config: CnnLSTMConfig) -> None:
        super().__init__()
        widths = [config.inputs, *[config.channels] * config.convolutions]
        self.front = nn.Sequential(
            *(
                CausalConvolution(before, after, config.kernel, dilation=2**place)
                for place, (before, after) in enumerate(pairwise(widths))
            )
        )
        self.dropout = nn.Dropout(config.dropout)
        self.cells = nn.LSTM(
            config.channels,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.pool = AttentionPool(AttentionPoolConfig(config.hidden, config.dropout))

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        patterns = self.front(window.transpose(1, 2)).transpose(1, 2)  # (B, T, C)
        states, _ = self.cells(self.dropout(patterns))  # (B, T, H)
        return torch.cat([states[:, -1], self.pool(states)], dim=1)  # (B, 2H)


class CausalConvolution(nn.Module):
    """A convolution over time whose output at a bar depends on that bar and earlier ones only, then ReLU.

    Shapes
    ------
    input : float32 [batch, inputs, time]
    output : float32 [batch, outputs, time]
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.lookback = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(series, (self.lookback, 0))  # (B, F, lookback + T)
        return self.convolution(padded).relu()  # (B, C, T)


def build(config: dict[str, Any]) -> nn.Module:
    """Build the whole network from ``model.json``'s ``network.config``."""
    encoder = CnnLSTMConfig(**config)
    return ReturnNetwork(CnnLSTM(encoder), encoder.inputs, 2 * encoder.hidden)
