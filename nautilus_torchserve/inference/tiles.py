"""Networks whose bits for a row do not depend on who else is in the batch.

Matrix kernels are chosen by the number of rows, so the same float32 row comes out with
other last bits in another batch size. Here a network only ever sees batches of a few
fixed sizes ("tiles"), short ones padded, and a probe on this machine, with these
weights, picks the sizes for which a row's bits depend neither on its neighbours nor
on its position nor on the tile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.inference.programs import Program, load_program

Forward = Callable[[torch.Tensor], torch.Tensor]
RowOutputs = Callable[[nn.Module, torch.Tensor], torch.Tensor]
"""Network and float32 [tile, *row_shape] -> float32 [tile, outputs], row by row."""

BASE_TILES = (16, 32, 64, 8, 4, 2, 1)
"""Smallest tiles to try, the best throughput for single rows first; 1 is invariant by itself."""
LARGE_TILES = (64, 256, 1024)
"""Larger tiles for many rows at once, used where they give the base tile's bits."""
WINDOW_TILES = (2, 4, 1), (4, 16, 64)
"""The same two for windows of bars. A recurrent network computes its steps one after the other: a single
window must not wait for 15 rows of padding. A tile of two costs little more than one, and larger ones agree with it
bit for bit (see `inference`), where a tile of one takes another kernel than all of them."""
TEXT_TILES = (1, 2), (4, 8)
"""The same two for texts: a transformer's kernels see a matrix of tokens even for a single text."""

_LARGEST_BATCH = 256
"""Largest single batch size to look for in a program that declares none."""


@dataclass(frozen=True)
class Tiles:
    """The batch sizes that a network computes, in ascending order."""

    sizes: tuple[int, ...]
    """Rows of a tile; a short batch is padded to the first."""

    def run(self, forward: Forward, rows: torch.Tensor) -> torch.Tensor:
        """Compute all rows, each in a tile of one of the sizes.

        Parameters
        ----------
        forward : callable
            float32 [tile, ...] -> float32 [tile, ...], row by row.
        rows : float32 [n, ...]
            n >= 1.

        Returns
        -------
        float32 [n, ...]
        """
        count = len(rows)
        base = self.sizes[0]
        if count < base:
            return forward(_pad(rows, base))[:count]
        if count in self.sizes:
            return forward(rows)
        results, start = [], 0
        for size in reversed(self.sizes):
            while count - start >= size:
                results.append(forward(rows[start : start + size]))
                start += size
        if start < count:
            results.append(forward(_pad(rows[start:], base))[: count - start])
        return torch.cat(results)


def probe(
    forward: Forward,
    pool: torch.Tensor,
    bases: tuple[int, ...] = BASE_TILES,
    larger: tuple[int, ...] = LARGE_TILES,
) -> Tiles:
    """Find tiles that give each row the same bits alone, with others and at any position.

    Parameters
    ----------
    forward : callable
        As in `Tiles.run`.
    pool : tensor [n, ...]
        Typical inputs, as many as the largest tile holds, for example `fill` of the golden rows.
    bases : tuple of int
        Smallest tiles to try, in order of preference.
    larger : tuple of int
        Further sizes, ascending; those that give the base tile's bits are used.
    """
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(pool), generator=generator).to(pool.device) for _ in range(3)]
    for base in bases:
        expected = _in_tiles(forward, pool, base)
        if _invariant(forward, pool, base, expected, orders):
            agreeing = (size for size in larger if size > base and _invariant(forward, pool, size, expected, orders))
            return Tiles((base, *agreeing))
    if not torch.isfinite(expected).all():
        raise BadArchive("expected finite outputs for inputs like the golden ones, got others")
    if torch.equal(_in_tiles(forward, pool, base), expected):
        raise BadArchive(
            "expected outputs of a row that do not depend on the other rows of its batch, got such that do"
        )
    raise BadArchive(
        "expected equal outputs of two calls with the same rows, got others: is dropout still active, or are inputs "
        "changed?"
    )


def fill(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return ``count`` rows like these float32 [n, ...]: repeated, and perturbed a little."""
    generator = torch.Generator().manual_seed(0)
    pool = rows.repeat(-(-count // len(rows)), *([1] * (rows.dim() - 1)))[:count]
    noise = torch.randn(pool.shape, generator=generator).to(pool)
    return pool * (1 + 0.1 * noise.clamp(-5, 5))  # no sign changes: a price stays a price


def _invariant(
    forward: Forward, pool: torch.Tensor, size: int, expected: torch.Tensor, orders: list[torch.Tensor]
) -> bool:
    """Return whether tiles of this size give the expected bits in every order, and beside padding."""
    if size == 1:  # no other rows: only whether two calls agree
        return torch.equal(_in_tiles(forward, pool, size), expected)
    shuffled = all(torch.equal(_in_tiles(forward, pool[order], size), expected[order]) for order in orders)
    singles = range(min(16, len(pool)))
    alone = all(torch.equal(forward(_pad(pool[row : row + 1], size))[0], expected[row]) for row in singles)
    return shuffled and alone


def _in_tiles(forward: Forward, rows: torch.Tensor, size: int) -> torch.Tensor:
    return torch.cat([forward(tile) for tile in rows.split(size)])


def _pad(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Pad with copies of the last row, which is valid where zeros may have no logarithm."""
    return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])])


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
        rows = torch.from_numpy(self.golden.inputs["rows"]).to(device)
        if isinstance(self.network, Program):
            with torch.inference_mode():
                self.network.find_batch(fill(rows, _LARGEST_BATCH))
            base_tiles, large_tiles = self.network.tiles(base_tiles), self.network.tiles(large_tiles)
            if not base_tiles:
                base_tiles = (int(self.network.batches[0]),)
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
