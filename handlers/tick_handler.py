"""Serves the tick classifier: probabilities of BUY, SELL and HOLD for each row."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.tick_classifier import CLASSES
from nautilus_torchserve.inference.explain.features import explain_features
from nautilus_torchserve.inference.explain.integrate import TimeLimit
from nautilus_torchserve.wire.output_constraints import PROBABILITY, OutputConstraints
from nautilus_torchserve.worker.row_handler import RowHandler


class TickHandler(RowHandler):
    """Logits to probabilities."""

    output_names = explained = CLASSES
    constraints = OutputConstraints(dict.fromkeys(CLASSES, PROBABILITY), (CLASSES,))
    explaining_s, explaining_alone_s = 0.4, 2.0
    most_explained, most_explained_bytes = 16, 1 << 14

    def answer(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return network(rows).softmax(dim=1)  # (B, 3)

    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        return explain_features(network, row, self.schema.columns, output, limit)
