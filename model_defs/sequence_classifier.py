"""A Hugging Face model that classifies texts, with its own head."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class SequenceClassifierConfig:
    """Configuration of a `SequenceClassifier`."""

    model: dict[str, Any]
    """The model's configuration in Hugging Face's form, ``config.json`` as a dict."""
    max_tokens: int = 512
    """Most tokens of a text, or of a chunk of a longer one, with special tokens."""


class SequenceClassifier(nn.Module):
    """Logits of the classes that the configuration's ``id2label`` names.

    Shapes
    ------
    input : int64 [batch, tokens], padded with the model's padding token
    output : float32 [batch, classes]
    """

    def __init__(self, config: SequenceClassifierConfig) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModelForSequenceClassification  # takes seconds

        values = {name: value for name, value in config.model.items() if name not in ("dtype", "torch_dtype")}
        self.encoder = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**values)).float()
        if self.encoder.config.pad_token_id is None:
            raise ValueError("expected a model with a padding token, got one without pad_token_id")
        self.padding: int = self.encoder.config.pad_token_id

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        present = (tokens != self.padding).long()  # (B, L)
        return self.encoder(input_ids=tokens, attention_mask=present).logits


def build(config: dict[str, Any]) -> SequenceClassifier:
    """Build the network from ``model.json``'s ``network.config``."""
    return SequenceClassifier(SequenceClassifierConfig(**config))
