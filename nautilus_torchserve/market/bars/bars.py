"""Bars of one instrument as arrays, whatever their source."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.data_files import FileRows
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import Instrument, place

PRICES = ("open", "high", "low", "close")
ARRAYS = ("ts_event", *PRICES, "volume")


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars of one instrument and one interval, in order of time."""

    instrument: Instrument
    """What was traded."""
    source: str
    """Where they came from, for reports and error messages."""
    simulated: bool
    """True for the simulator's bars; every output must be marked as simulated."""
    interval_ns: int
    """Time from a bar's open to its close."""
    ts_event: NDArray[np.int64]
    """When each bar closed, Unix ns [n], increasing: not known any earlier."""
    open: NDArray[np.int64]
    """In steps of 10**-price_precision [n]; the same for `high`, `low` and `close`."""
    high: NDArray[np.int64]
    low: NDArray[np.int64]
    close: NDArray[np.int64]
    volume: NDArray[np.int64]
    """In steps of 10**-size_precision [n]; the unit depends on the source, as models see relative volumes only."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """How they were read."""
    notes: tuple[str, ...] = ()
    """What was assumed or altered in reading them, a sentence each."""
    lines: FileRows | None = None
    """Line numbers in the file; None for bars that are not from one."""
    catalog: Path | None = None
    """The NautilusTrader catalog they were read from, which may define the instrument; None for a file."""

    def __len__(self) -> int:
        return len(self.close)

    @cached_property
    def sha256(self) -> str:
        """Hash of instrument, interval and values: the same bars have the same hash, whatever the file."""
        digest = hashlib.sha256(f"{self.instrument!r} {self.interval_ns}".encode())
        for name in ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()

    def between(self, start: int, stop: int) -> "Bars":
        """Return the bars at positions ``start`` to ``stop - 1``."""
        return self.take(slice(start, stop))

    def take(self, rows: NDArray[np.int64] | slice) -> "Bars":
        """Return the bars at these positions."""
        lines = None if self.lines is None else self.lines.take(rows)
        return replace(self, lines=lines, **{name: getattr(self, name)[rows] for name in ARRAYS})

    def place(self, row: int) -> str:
        """Return the place of a bar for messages: its line in a file, else its row and when it closed."""
        return place(self.lines, row, int(self.ts_event[row]))

    def prices(self, name: str = "close") -> NDArray[np.float64]:
        """Return one of `PRICES` in quote currency, float64 [n]: whole steps over a power of ten, rounded once."""
        return getattr(self, name) / 10.0**self.instrument.price_precision

    def volumes(self) -> NDArray[np.float64]:
        """Return volumes in the source's unit, float64 [n]."""
        return self.volume / 10.0**self.instrument.size_precision

    def ohlcv(self) -> NDArray[np.float64]:
        """Return `prices` and `volumes` as the columns that features are computed from, float64 [n, 5]."""
        return np.stack([*(self.prices(name) for name in PRICES), self.volumes()], axis=1)
