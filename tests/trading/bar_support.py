"""Small markets of bars, and the requests about them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.market.trades.trades import Instrument

MINUTE = 60 * 10**9


def market(symbol: str = "SIMUSD", count: int = 260, seed: int = 1, venue: str = "SIM") -> Bars:
    """Simulated minutes of one instrument."""
    return simulate_bars(count, seed, instrument=Instrument(symbol, venue, 2, 3))


def without(bars: Bars, start: int, stop: int) -> Bars:
    """The bars but for those at positions ``start`` to ``stop - 1``."""
    kept = np.r_[0:start, stop : len(bars)]
    return replace(bars, **{name: getattr(bars, name)[kept] for name in ("ts_event", *PRICES, "volume")})


def silent(bars: Bars, start: int, stop: int) -> Bars:
    """The bars, without volume at positions ``start`` to ``stop - 1``."""
    here = np.arange(len(bars))
    return replace(bars, volume=np.where((here >= start) & (here < stop), 0, bars.volume))


def reverse_split(bars: Bars, at: int) -> Bars:
    """The bars at five times their prices from position ``at`` on: a model refuses the 59 windows that span it."""
    factor = np.where(np.arange(len(bars)) >= at, 5, 1)
    return replace(bars, **{name: getattr(bars, name) * factor for name in PRICES})


def ohlcv(bars: Bars) -> NDArray[np.float64]:
    """Open, high, low, close, volume [n, 5]."""
    return np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)


@dataclass
class SentRequests:
    """Requests to a model, in order."""

    rows: list[NDArray[np.float32]]

    @property
    def sizes(self) -> list[int]:
        """Windows of each request."""
        return [len(rows) for rows in self.rows]
