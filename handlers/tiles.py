"""Forward passes whose bits do not depend on who else is in the batch.

Matrix kernels are chosen by the number of rows, so the same float32 row comes out with
other last bits in another batch size. Here a network only ever sees batches of a few
fixed sizes ("tiles"), short ones padded, and a probe on this machine, with these
weights, picks the sizes for which a row's bits depend neither on its neighbours nor
on its position nor on the tile.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Forward = Callable[[torch.Tensor], torch.Tensor]

BASE_TILES = (16, 32, 64, 8, 4, 2, 1)
"""Smallest tiles to try, the best throughput for lone rows first; 1 is invariant by itself."""
LARGE_TILES = (64, 256, 1024)
"""Larger tiles for many rows at once, used where they give the base tile's bits."""


@dataclass(frozen=True)
class Tiles:
    """The batch sizes a network may see, in ascending order."""

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
    rows: torch.Tensor,
    bases: tuple[int, ...] = BASE_TILES,
    larger: tuple[int, ...] = LARGE_TILES,
) -> Tiles:
    """Find tiles that give each row the same bits alone, in company and at any position.

    Parameters
    ----------
    forward : callable
        As in `Tiles.run`.
    rows : float32 [n, ...]
        Typical inputs, for example the golden rows; repeated and perturbed to fill the largest tile.
    bases : tuple of int
        Smallest tiles to try, in order of preference.
    larger : tuple of int
        Further sizes, ascending; those that give the base tile's bits are taken.
    """
    largest = max(*bases, *larger)
    generator = torch.Generator().manual_seed(0)
    pool = rows.repeat(-(-largest // len(rows)), *([1] * (rows.dim() - 1)))[:largest]   # (1024, ...)
    noise = torch.randn(pool.shape, generator=generator).to(pool)
    pool = pool * (1 + 0.1 * noise.clamp(-5, 5))  # no sign changes: a price stays a price
    orders = [torch.randperm(largest, generator=generator).to(pool.device) for _ in range(3)]
    for base in bases:
        expected = _in_tiles(forward, pool, base)
        if _invariant(forward, pool, base, expected, orders):
            agreeing = (
                size for size in larger if size > base and _invariant(forward, pool, size, expected, orders)
            )
            return Tiles((base, *agreeing))
    raise RuntimeError("the network's output for one row differs between two calls: it is not deterministic")


def _invariant(
    forward: Forward, pool: torch.Tensor, size: int, expected: torch.Tensor, orders: list[torch.Tensor]
) -> bool:
    """Whether tiles of this size give the expected bits in every order, and with padding for company."""
    shuffled = all(torch.equal(_in_tiles(forward, pool[order], size), expected[order]) for order in orders)
    alone = all(torch.equal(forward(_pad(pool[row : row + 1], size))[0], expected[row]) for row in range(16))
    return shuffled and alone


def _in_tiles(forward: Forward, rows: torch.Tensor, size: int) -> torch.Tensor:
    return torch.cat([forward(tile) for tile in rows.split(size)])


def _pad(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Filled up with copies of the last row, which mean as much as it does: zeros may have no logarithm."""
    return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])])
