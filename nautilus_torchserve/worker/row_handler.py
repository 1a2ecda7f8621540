"""What handlers of rows of numbers share."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.inference.explain.integrate import TimeLimit, check_count, explain_each, float64_copy
from nautilus_torchserve.inference.row_model import RowModel
from nautilus_torchserve.inference.tiles import BASE_TILES, LARGE_TILES
from nautilus_torchserve.wire import body
from nautilus_torchserve.worker.trading_handler import TradingHandler


class RowHandler(TradingHandler):
    """Rows of the schema's shape to outputs.

    A subclass says what it answers and, where not every finite row has a meaning, which rows it refuses.
    """

    inputs = "rows"
    base_tiles: tuple[int, ...] = BASE_TILES
    """Smallest tiles to try, in order of preference: see `inference.tiles.probe`."""
    large_tiles: tuple[int, ...] = LARGE_TILES
    """Larger tiles to try for many rows at once."""

    @abstractmethod
    def answer(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        """Turn rows, float32 [tile, *row_shape], into float32 [tile, len(output_names)].

        Runs inside a tile, on `device`, with rows of several requests side by side.
        """

    @abstractmethod
    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        """Explain one row with the network in float64; see `explain_request`."""

    def check(self, request: body.Request) -> None:
        """Raise a `RequestError` where a request's rows, finite and of the right shape, have no meaning."""

    def load(self, folder: Path) -> tuple[int, ...]:
        self.rows = RowModel(folder, self.answer, self.device, self.base_tiles, self.large_tiles)
        return self.rows.tiles.sizes

    def decode(self, content: object, content_type: str | None) -> body.Request:
        asked = body.decode(content, content_type, self.schema.row_shape)
        self.check(asked)
        return asked

    def accept(self, inputs: NDArray[np.float32]) -> body.Request:
        asked = body.Request(inputs)
        self.check(asked)
        return asked

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> body.Request:
        return self.accept(inputs["rows"])

    def compute(self, asked: Sequence[body.Request]) -> NDArray[np.float32]:
        batches = [request.rows for request in asked]
        return self.rows.compute(batches[0] if len(batches) == 1 else np.concatenate(batches))

    def explain_request(self, asked: body.Request, output: str | None, until_s: float) -> list[dict[str, Any]]:
        check_count(len(asked), self.most_explained, "rows")
        network = float64_copy(self.rows.network)
        rows = list(asked.rows)
        return explain_each(lambda row, limit: self.explain_row(network, row, output, limit), rows, "rows", until_s)
