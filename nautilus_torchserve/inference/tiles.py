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

from nautilus_torchserve.inference.model_files import BadArchive

Forward = Callable[[torch.Tensor], torch.Tensor]

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
    raise BadArchive("expected equal outputs of two calls with the same rows, got others: is dropout still active?")


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
