"""Serves the tick classifier: probabilities of BUY, SELL and HOLD for each row."""

import torch

from handlers.trading_handler import TradingHandler
from model_defs.tick_classifier import CLASSES


class TickHandler(TradingHandler):
    """Logits to probabilities."""

    output_names = CLASSES

    def answer(self, rows: torch.Tensor) -> torch.Tensor:
        return self.model(rows).softmax(dim=1)  # (B, 3)
