"""Serves the tick classifier: probabilities of BUY, SELL and HOLD for each row."""

import torch
from torch import nn

from handlers.row_handler import RowHandler
from model_defs.tick_classifier import CLASSES


class TickHandler(RowHandler):
    """Logits to probabilities."""

    output_names = CLASSES

    def answer(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return network(rows).softmax(dim=1)  # (B, 3)
