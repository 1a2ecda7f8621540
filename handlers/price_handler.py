"""Serves a price model: the next bar's close, its return and how sure the model is of the return's sign."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.return_network import OUTPUTS, ReturnNetwork, predict
from nautilus_torchserve.inference.bar_windows import allows_jumps, check_windows
from nautilus_torchserve.inference.explain.integrate import TimeLimit
from nautilus_torchserve.inference.explain.windows import explain_window
from nautilus_torchserve.inference.tiles import WINDOW_TILES
from nautilus_torchserve.wire.body import Request
from nautilus_torchserve.wire.output_constraints import (
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    RETURN_BPS,
    OutputConstraints,
)
from nautilus_torchserve.worker.row_handler import RowHandler


class PriceHandler(RowHandler):
    """Windows of bars to `OUTPUTS`; the network is whichever the archive holds."""

    output_names = explained = OUTPUTS
    constraints = OutputConstraints(dict(zip(OUTPUTS, (POSITIVE, RETURN_BPS, NON_NEGATIVE, PROBABILITY), strict=True)))
    explaining_s, explaining_alone_s = 0.5, 4.0
    most_explained, most_explained_bytes = 8, 1 << 18
    base_tiles, large_tiles = WINDOW_TILES

    def check(self, request: Request) -> None:
        check_windows(request, allows_jumps(self.description))

    def answer(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return predict(cast(ReturnNetwork, network), rows)  # (B, 4)

    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        return explain_window(network, row, self.schema.columns, output, limit)
