"""Models of rows of numbers: a network computes them in tiles that keep their bits."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.explain.integrate import TimeLimit, check_count, explain_each, float64_copy
from nautilus_torchserve.inference.model import InferenceModel
from nautilus_torchserve.inference.programs import Program, load_program
from nautilus_torchserve.inference.tiles import BASE_TILES, LARGE_TILES, fill, probe
from nautilus_torchserve.wire import body

RowOutputs = Callable[[nn.Module, torch.Tensor], torch.Tensor]
"""Network and float32 [tile, *row_shape] -> float32 [tile, outputs], row by row."""


class RowModel(InferenceModel):
    """Rows of the schema's shape to outputs.

    A subclass computes outputs from rows, explains a row and, where not every finite row has a meaning, refuses some.
    """

    inputs = "rows"
    base_tiles: tuple[int, ...] = BASE_TILES
    """Smallest tiles to try, in order of preference: see `inference.tiles.probe`."""
    large_tiles: tuple[int, ...] = LARGE_TILES
    """Larger tiles to try for many rows at once."""

    @abstractmethod
    def forward(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        """Turn rows, float32 [tile, *row_shape], into outputs, float32 [tile, len(output_names)].

        Runs inside a tile, on `device`, with rows of several requests side by side.
        """

    @abstractmethod
    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        """Explain one row with the network in float64; see `explain`."""

    def check(self, request: body.RowRequest) -> None:
        """Raise a `RequestError` where a request's rows, finite and of the right shape, have no meaning."""

    def load(self, folder: Path) -> tuple[int, ...]:
        self.rows = RowNetwork(folder, self.forward, self.device, self.base_tiles, self.large_tiles)
        return self.rows.tiles.sizes

    def decode(self, content: object, content_type: str | None) -> body.RowRequest:
        request = body.decode(content, content_type, self.schema.row_shape)
        self.check(request)
        return request

    def validate(self, inputs: NDArray[np.float32]) -> body.RowRequest:
        request = body.RowRequest(inputs)
        self.check(request)
        return request

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> body.RowRequest:
        return self.validate(inputs["rows"])

    def compute(self, requests: Sequence[body.RowRequest]) -> NDArray[np.float32]:
        batches = [request.rows for request in requests]
        return self.rows.compute(batches[0] if len(batches) == 1 else np.concatenate(batches))

    def explain(self, request: body.RowRequest, output: str | None, until_s: float) -> list[dict[str, Any]]:
        check_count(len(request), self.max_explained, "rows")
        network = float64_copy(self.rows.network)
        rows = list(request.rows)
        return explain_each(lambda row, limit: self.explain_row(network, row, output, limit), rows, "rows", until_s)


class RowNetwork:
    """A network of a run, or of an unpacked archive, on a device, proved invariant.

    Parameters
    ----------
    folder : Path
        Holds description, weights and golden rows.
    forward : callable
        Computes the outputs of rows, given the network.
    device : torch.device
    base_tiles, large_tiles : tuple of int
        See `inference.tiles.probe`.
    """

    def __init__(
        self,
        folder: Path,
        forward: RowOutputs,
        device: torch.device,
        base_tiles: tuple[int, ...],
        large_tiles: tuple[int, ...],
    ) -> None:
        self.description: dict[str, Any] = model_files.read_description(folder)
        self.network = load_network(folder, self.description, device)
        self.golden = model_files.read_golden(folder)
        self._outputs, self._device = forward, device
        if isinstance(self.network, Program):
            base_tiles, large_tiles = self.network.tiles(base_tiles), self.network.tiles(large_tiles)
            if not base_tiles:
                base_tiles = (int(self.network.batches[0]),)
        rows = torch.from_numpy(self.golden.inputs["rows"]).to(device)
        with torch.inference_mode():
            self.tiles = probe(self._forward, fill(rows, max((*base_tiles, *large_tiles))), base_tiles, large_tiles)

    def compute(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs of rows: float32 [n, *row_shape] -> float32 [n, outputs]."""
        if not rows.flags.writeable:  # torch has no read-only tensors
            rows = rows.copy()
        with torch.inference_mode():
            return self.tiles.run(self._forward, torch.from_numpy(rows).to(self._device)).cpu().numpy()

    def _forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self._outputs(self.network, rows)


def load_network(folder: Path, description: dict[str, Any], device: torch.device) -> nn.Module:
    """Return the network that a description names, with the folder's weights, in evaluation mode, or its program."""
    stored = description["network"]
    if "program" in stored:
        return load_program(folder / Path(stored["file"]).name, stored["program"], device)
    network = model_files.build_network(description)
    model_files.load_weights(folder, network)
    return network.to(device).eval()
