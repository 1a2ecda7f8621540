"""Labels of tick models: whether the price will move by more than the cost of a trade."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.user_error import InvalidArgument

BUY, SELL, HOLD = 0, 1, 2
UNKNOWN = -1
"""Label of trades whose horizon lies beyond the data."""


@dataclass(frozen=True)
class LabelConfig:
    """Definition of a label."""

    horizon: int = 20
    """Trades to look ahead."""
    cost_bps: float = 1.0
    """A move must be larger than this to be worth trading (bps of the price)."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise InvalidArgument(f"expected horizon of at least 1 trade, got {self.horizon}")
        if not 0 <= self.cost_bps < float("inf"):
            raise InvalidArgument(f"expected cost_bps of at least 0, got {self.cost_bps}")


def label(price: NDArray[np.int64], horizon: int = 20, cost_bps: float = 1.0) -> NDArray[np.int8]:
    """Label each trade by the simple return over the ``horizon`` trades after it.

    Parameters
    ----------
    price : int64 [n]
        In the instrument's smallest steps, positive.
    horizon : int
        Trades to look ahead.
    cost_bps : float
        Threshold in bps of the price.

    Returns
    -------
    int8 [n]
        0 BUY above +cost_bps, 1 SELL below -cost_bps, 2 HOLD, -1 for the last ``horizon`` trades.
    """
    LabelConfig(horizon, cost_bps)  # validates the arguments
    labels = np.full(len(price), UNKNOWN, dtype=np.int8)
    now, then = price[:-horizon], price[horizon:]
    return_bps = 1e4 * (then - now) / now
    labels[: len(now)] = np.select([return_bps > cost_bps, return_bps < -cost_bps], [BUY, SELL], HOLD)
    return labels
