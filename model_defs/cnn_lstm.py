"""Convolutions that find short patterns in bars and indicators, then an LSTM that puts them in order."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from model_defs.attention_pool import AttentionPool
from model_defs.return_network import ReturnNetwork


@dataclass(frozen=True)
class CnnLSTMConfig:
    """Shape of a `CnnLSTM`."""

    inputs: int = 13
    """Columns of a window: five of a bar, eight of `features.indicators`; 5 without them."""
    channels: int = 64
    """Width of the convolutional front."""
    kernel: int = 3
    """Bars that one convolution looks at."""
    convolutions: int = 3
    """Convolutions one after the other; each looks twice as far back as the one before."""
    hidden: int = 128
    """Width of a recurrent state."""
    layers: int = 1
    """Recurrent layers."""
    dropout: float = 0.1
    """After the front, between recurrent layers and on the attention's weights, while training."""

    def __post_init__(self) -> None:
        for name in ("kernel", "convolutions", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")


class CnnLSTM(nn.Module):
    """Encoder: dilated causal convolutions (Bai et al. 2018), an LSTM over them, attention over its states.

    As in `model_defs.price_lstm`, the last state goes beside what attention picked.

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
        self.pool = AttentionPool(config.hidden, config.dropout)

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
    """The whole network from ``model.json``'s ``network.config``."""
    shape = CnnLSTMConfig(**config)
    return ReturnNetwork(CnnLSTM(shape), shape.inputs, 2 * shape.hidden)
