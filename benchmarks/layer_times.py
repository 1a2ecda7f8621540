"""Where the time of a price request goes: differences of measured cells, each a layer on the one before."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.comparison import Cell
from benchmarks.in_process import FORWARD, IN_TILES, MAR, ONE_WINDOW, WINDOWS
from benchmarks.payloads import PRICE, WINDOW_BINARY, WINDOW_JSON, WINDOWS_BINARY

_IN_PROCESS = {WINDOW_JSON: ONE_WINDOW, WINDOW_BINARY: ONE_WINDOW, WINDOWS_BINARY: WINDOWS}
"""Request -> what it is called without a form."""


@dataclass(frozen=True)
class LayerTimes:
    """The p50 of a request at one connection, in layers; on a noisy machine a small one may come out negative."""

    request: str
    forward_ms: float
    """The network alone, all windows at once: what a server that promises no bits would compute."""
    tiles_ms: float
    """Padding, and several small tiles instead of a large one: the price of batch invariance."""
    handler_ms: float
    """Checking the windows, and turning location and scale into outputs."""
    port_ms: float
    """The rest: load generator, HTTP, Java, the worker's socket, decoding and encoding."""

    @property
    def invariance(self) -> float:
        """Time in tiles to time at once: the price of batch invariance as a ratio."""
        return (self.forward_ms + self.tiles_ms) / self.forward_ms

    @property
    def in_process(self) -> float:
        """The handler in process, tiles and all, to the network alone."""
        return (self.forward_ms + self.tiles_ms + self.handler_ms) / self.forward_ms

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types for the report; with ``invariance`` and ``in_process``."""
        return {**asdict(self), "invariance": self.invariance, "in_process": self.in_process}


def layer_times(cells: Sequence[Cell]) -> list[LayerTimes]:
    """Return the layers of each request of a price model; empty where none was measured."""
    p50_ms = {(cell.server, cell.request): cell.p50_ms for cell in cells if cell.connections == 1}
    times = []
    for way, alone in _IN_PROCESS.items():
        if (PRICE, way) in p50_ms:
            layers = [p50_ms[FORWARD, alone], p50_ms[IN_TILES, alone], p50_ms[MAR, alone], p50_ms[PRICE, way]]
            added = [layer - below for layer, below in zip(layers, [0.0, *layers], strict=False)]
            times.append(LayerTimes(way, *added))
    return times
