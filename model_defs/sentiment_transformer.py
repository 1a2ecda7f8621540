"""A transformer encoder that classifies texts by the sentiment of a holder of the asset.

The encoder is any of Hugging Face's (all-MiniLM-L6-v2, FinBERT, ...), built from its configuration alone, so
that weights and configuration suffice to serve it. Each token's last state gives logits, whose mean over the text's
tokens is the output: the same as the mean state's logits, and attributable to single tokens.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

CLASSES = ("negative", "neutral", "positive")
OUTPUTS = ("score", *CLASSES, "confidence")
"""Columns of `outputs`."""


@dataclass(frozen=True)
class SentimentTransformerConfig:
    """Configuration of a `SentimentTransformer`."""

    backbone: dict[str, Any]
    """The encoder's configuration in Hugging Face's form, ``config.json`` as a dict."""
    max_tokens: int = 512
    """Most tokens of a text, or of a chunk of a longer one, with special tokens."""
    dropout: float = 0.1
    """Dropout probability of the last states."""

    def __post_init__(self) -> None:
        if "model_type" not in self.backbone:
            raise ValueError(f"expected a configuration with model_type, got one with {sorted(self.backbone)}")


class SentimentTransformer(nn.Module):
    """Logits of `CLASSES`.

    Shapes
    ------
    input : int64 [batch, tokens], padded with the encoder's padding token
    output : float32 [batch, 3]
    """

    temperature: torch.Tensor

    def __init__(self, config: SentimentTransformerConfig) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel  # takes seconds, so only where one is built

        backbone = {name: value for name, value in config.backbone.items() if name not in ("dtype", "torch_dtype")}
        self.encoder = AutoModel.from_config(AutoConfig.for_model(**backbone)).float()
        if hasattr(self.encoder, "pooler"):
            self.encoder.pooler = None  # a layer of some encoders' pretraining
        if self.encoder.config.pad_token_id is None:
            raise ValueError("expected an encoder with a padding token, got one without pad_token_id")
        self.padding: int = self.encoder.config.pad_token_id
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.encoder.config.hidden_size, len(CLASSES))
        nn.init.zeros_(self.head.weight)  # a fit begins at equal probabilities
        nn.init.zeros_(self.head.bias)
        self.register_buffer("temperature", torch.ones(()))  # calibrates the probabilities, see `outputs`

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.from_embeddings(self.embeddings(tokens), tokens)

    def embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the tokens' embeddings, float32 [batch, tokens, width], before positions and layers."""
        return self.encoder.get_input_embeddings()(tokens)

    def from_embeddings(self, embeddings: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Compute logits given the tokens' embeddings; ``tokens`` show which are padding."""
        return self.from_states(self.states(embeddings, tokens), tokens)

    def states(self, embeddings: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Compute the encoder's last states, float32 [batch, tokens, width]."""
        present = (tokens != self.padding).long()  # (B, L)
        return self.encoder(inputs_embeds=embeddings, attention_mask=present).last_hidden_state

    def from_states(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the mean of the tokens' logits."""
        present = (tokens != self.padding).unsqueeze(2)  # (B, L, 1)
        logits = self.head(self.dropout(states))  # (B, L, 3)
        return (logits * present).sum(dim=1) / present.sum(dim=1)  # (B, 3)


def build(config: dict[str, Any]) -> SentimentTransformer:
    """Build the network from ``model.json``'s ``network.config``."""
    return SentimentTransformer(SentimentTransformerConfig(**config))


def probabilities(network: SentimentTransformer, tokens: torch.Tensor) -> torch.Tensor:
    """Compute calibrated probabilities of `CLASSES`, float32 [batch, 3].

    Logits are divided by a temperature fitted on validation data (Guo et al. 2017).
    """
    return (network(tokens) / network.temperature).softmax(dim=1)


def outputs(probability: torch.Tensor) -> torch.Tensor:
    """Compute the columns of `OUTPUTS` from probabilities [..., 3].

    ``score``
        positive - negative, in [-1, 1].
    ``confidence``
        Probability of the likeliest class.
    """
    score = probability[..., 2] - probability[..., 0]
    return torch.cat([score.unsqueeze(-1), probability, probability.max(dim=-1, keepdim=True).values], dim=-1)
