"""The newest whole window of some bars, as a price model is asked about it."""

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_columns, bar_schema, have_volume, window_ends, windows
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.model_metadata import ModelMetadata


def last_window(bars: Bars, metadata: ModelMetadata) -> NDArray[np.float32]:
    """The window of the last bar that ends one, float32 [time_steps, columns].

    Parameters
    ----------
    metadata : ModelMetadata
        The model's, whose ``bars`` say which columns it sees and how long a break is.

    Raises
    ------
    BadData
        No bar ends a whole window.
    """
    theirs = metadata.require_bars()
    lookback = bar_schema(theirs.indicators).window
    ends = window_ends(bars.ts_event, theirs.max_gap_ns, lookback)
    ends = ends[have_volume(bars.volumes(), ends)]
    if not len(ends):
        raise BadData(
            f"{bars.source}: expected {lookback} bars with volume and without a break, got fewer among {len(bars)}"
        )
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    return windows(bar_columns(ohlcv, theirs.indicators), ends[-1:])[0]
