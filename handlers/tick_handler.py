"""Serves the tick classifier: probabilities of BUY, SELL and HOLD for each row."""

from typing import Any

import torch
from torch import nn

from handlers.trading_handler import TradingHandler
from model_defs.tick_classifier import CLASSES, TickClassifier, TickClassifierConfig


class TickHandler(TradingHandler):
    """Logits to probabilities."""

    output_names = CLASSES

    def network(self, config: dict[str, Any]) -> nn.Module:
        return TickClassifier(TickClassifierConfig(**config))

    def answer(self, rows: torch.Tensor) -> torch.Tensor:
        return self.model(rows).softmax(dim=1)  # (B, 3)
