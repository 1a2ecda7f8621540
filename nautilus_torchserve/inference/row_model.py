"""A network that answers rows of numbers, in tiles that keep their bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.tiles import fill, probe

Answer = Callable[[nn.Module, torch.Tensor], torch.Tensor]
"""Network and float32 [tile, *row_shape] -> float32 [tile, outputs], row by row."""


class RowModel:
    """A network of a run, or of an unpacked archive, on a device, proved invariant.

    Parameters
    ----------
    folder : Path
        With description, weights and golden rows.
    answer : callable
        What it is asked, given network and rows.
    device : torch.device
    base_tiles, large_tiles : tuple of int
        See `inference.tiles.probe`.
    """

    def __init__(
        self,
        folder: Path,
        answer: Answer,
        device: torch.device,
        base_tiles: tuple[int, ...],
        large_tiles: tuple[int, ...],
    ) -> None:
        self.description: dict[str, Any] = model_files.read_description(folder)
        self.network = load_network(folder, self.description, device)
        self.golden = model_files.read_golden(folder)
        self._answer, self._device = answer, device
        rows = torch.from_numpy(self.golden.inputs["rows"]).to(device)
        with torch.inference_mode():
            self.tiles = probe(self._forward, fill(rows, max(*base_tiles, *large_tiles)), base_tiles, large_tiles)

    def compute(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answer rows, float32 [n, *row_shape] -> float32 [n, outputs]."""
        if not rows.flags.writeable:  # torch has no read-only tensors
            rows = rows.copy()
        with torch.inference_mode():
            return self.tiles.run(self._forward, torch.from_numpy(rows).to(self._device)).cpu().numpy()

    def _forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self._answer(self.network, rows)


def load_network(folder: Path, description: dict[str, Any], device: torch.device) -> nn.Module:
    """The network that a description names, with the folder's weights, ready to answer."""
    network = model_files.build_network(description)
    model_files.load_weights(folder, network)
    return network.to(device).eval()
