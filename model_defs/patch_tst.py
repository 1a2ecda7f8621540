"""PatchTST, in transformers' implementation: attention between patches of a window, separately for each column."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.models.patchtst import PatchTSTConfig, PatchTSTModel

from model_defs.return_network import ReturnNetwork


@dataclass(frozen=True)
class PatchEncoderConfig:
    """Configuration of a `PatchEncoder`."""

    inputs: int = 5
    """Number of columns of a window."""
    time_steps: int = 60
    """Length of a window (bars); unlike a recurrent network, this one accepts no other."""
    patch: int = 8
    """Length of a patch (bars)."""
    stride: int = 4
    """Distance between patches (bars); the last patch ends with the last bar."""
    hidden: int = 64
    """Size of a patch's state."""
    layers: int = 3
    """Number of transformer layers."""
    heads: int = 4
    """Number of attention heads; must divide ``hidden``."""
    feed_forward: int = 128
    """Size of the hidden layer of a feed-forward block."""
    dropout: float = 0.2
    """Dropout probability in attention, in feed-forward blocks and of the output."""

    def __post_init__(self) -> None:
        if not 1 <= self.patch < self.time_steps:
            raise ValueError(f"expected patch from 1 to time_steps - 1, got {self.patch} of {self.time_steps}")
        if self.stride < 1:
            raise ValueError(f"expected stride of at least 1, got {self.stride}")
        if self.heads < 1 or self.hidden % self.heads:
            raise ValueError(f"expected hidden as a multiple of heads, got {self.hidden} with {self.heads} heads")

    @property
    def patches(self) -> int:
        """Number of patches in a window."""
        return (self.time_steps - self.patch) // self.stride + 1

    @property
    def width(self) -> int:
        """Size of the output: all patches of all columns."""
        return self.inputs * self.patches * self.hidden


class PatchEncoder(nn.Module):
    """Encoder: PatchTST (Nie et al. 2023), one transformer for all columns, its states concatenated.

    The implementation's own scaling is off: inputs are standardised.

    Shapes
    ------
    input : float32 [batch, time_steps, inputs], standardised
    output : float32 [batch, inputs * patches * hidden]
    """

    def __init__(self, config: PatchEncoderConfig) -> None:
        super().__init__()
        self.transformer = PatchTSTModel(
            PatchTSTConfig(
                num_input_channels=config.inputs,
                context_length=config.time_steps,
                patch_length=config.patch,
                patch_stride=config.stride,
                d_model=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                ffn_dim=config.feed_forward,
                attention_dropout=config.dropout,
                ff_dropout=config.dropout,
                path_dropout=config.dropout,
                scaling=None,
            )
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        states = self.transformer(past_values=window).last_hidden_state  # (B, F, P, H)
        return self.dropout(states.flatten(start_dim=1))  # (B, F * P * H)


def build(config: dict[str, Any]) -> nn.Module:
    """Build the whole network from ``model.json``'s ``network.config``."""
    encoder = PatchEncoderConfig(**config)
    return ReturnNetwork(PatchEncoder(encoder), encoder.inputs, encoder.width, encoder.time_steps)
