"""The newest whole window of a file's bars, as the input of a price model."""

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_columns, bar_schema, have_volume, window_ends, windows
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.model_metadata import ModelMetadata


def last_window(bars: Bars, metadata: ModelMetadata) -> NDArray[np.float32]:
    """Return the window of the last bar that ends one, float32 [time_steps, columns].

    Parameters
    ----------
    metadata : ModelMetadata
        The model's, whose ``bars`` define its columns and the length of a break.

    Raises
    ------
    BadData
        No bar ends a whole window.
    """
    spec = metadata.require_bars()
    lookback = bar_schema(spec.indicators).window
    ends = window_ends(bars.ts_event, spec.max_gap_ns, lookback)
    ends = ends[have_volume(bars.volumes(), ends)]
    if not len(ends):
        raise BadData(
            f"{bars.source}: expected {lookback} bars with volume and without a break, got fewer among {len(bars)}"
        )
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    return windows(bar_columns(ohlcv, spec.indicators), ends[-1:])[0]
