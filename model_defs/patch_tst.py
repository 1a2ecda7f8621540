"""PatchTST, transformers' own implementation: attention between patches of a window, each column by itself."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.models.patchtst import PatchTSTConfig, PatchTSTModel

from model_defs.return_network import ReturnNetwork


@dataclass(frozen=True)
class PatchTSTShape:
    """Shape of a `PatchEncoder`; `PatchTSTConfig` is transformers' name for what is made of it."""

    inputs: int = 5
    """Columns of a window."""
    time_steps: int = 60
    """Length of a window; unlike a recurrent network, this one takes no other."""
    patch: int = 8
    """Bars of a patch."""
    stride: int = 4
    """Bars from a patch to the next; the last patch ends with the last bar."""
    hidden: int = 64
    """Width of a patch's state."""
    layers: int = 3
    """Transformer layers."""
    heads: int = 4
    """Heads of the self-attention; they divide ``hidden`` between them."""
    feed_forward: int = 128
    """Width inside a layer's perceptron."""
    dropout: float = 0.2
    """In attention, perceptrons and on the encoder's output, while training."""

    def __post_init__(self) -> None:
        if not 1 <= self.patch < self.time_steps:
            raise ValueError(f"expected patch from 1 to time_steps - 1, got {self.patch} of {self.time_steps}")
        if self.stride < 1:
            raise ValueError(f"expected stride of at least 1, got {self.stride}")
        if self.heads < 1 or self.hidden % self.heads:
            raise ValueError(f"expected hidden as a multiple of heads, got {self.hidden} with {self.heads} heads")

    @property
    def patches(self) -> int:
        """Patches in a window."""
        return (self.time_steps - self.patch) // self.stride + 1

    @property
    def width(self) -> int:
        """Of the encoder's output: all patches of all columns."""
        return self.inputs * self.patches * self.hidden


class PatchEncoder(nn.Module):
    """Encoder: PatchTST (Nie et al. 2023), all columns through the same transformer, its states side by side.

    The implementation's own scaling is off: windows come here standardised.

    Shapes
    ------
    input : float32 [batch, time_steps, inputs], standardised
    output : float32 [batch, inputs * patches * hidden]
    """

    def __init__(self, shape: PatchTSTShape) -> None:
        super().__init__()
        self.transformer = PatchTSTModel(
            PatchTSTConfig(
                num_input_channels=shape.inputs,
                context_length=shape.time_steps,
                patch_length=shape.patch,
                patch_stride=shape.stride,
                d_model=shape.hidden,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                ffn_dim=shape.feed_forward,
                attention_dropout=shape.dropout,
                ff_dropout=shape.dropout,
                path_dropout=shape.dropout,
                scaling=None,
            )
        )
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        states = self.transformer(past_values=window).last_hidden_state  # (B, F, P, H)
        return self.dropout(states.flatten(start_dim=1))  # (B, F * P * H)


def build(config: dict[str, Any]) -> nn.Module:
    """The whole network from ``model.json``'s ``network.config``."""
    shape = PatchTSTShape(**config)
    return ReturnNetwork(PatchEncoder(shape), shape.inputs, shape.width, shape.time_steps)
