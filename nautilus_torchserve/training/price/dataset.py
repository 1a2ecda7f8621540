"""Windows of bars with the return that followed, and the folds of a walk-forward evaluation."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_columns, bar_schema, breaks_note, have_volume, window_ends, windows
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import BadData

TEST_SHARE = 0.4
"""Share of the windows that are tested on, in equal parts by the folds."""
VALIDATION_SHARE = 0.15
"""Share of what comes before a fold's test part that decides when its fit stops."""
MIN_WINDOWS = 64
"""Fewest windows of a part, and how many of the test part become golden windows."""
DAY_NS = 86_400_000_000_000
WEEKEND_DAYS = 4
"""Daily bars may be so far apart: a weekend and a holiday."""


@dataclass(frozen=True, eq=False)
class Part:
    """Consecutive windows of a data set."""

    ends: NDArray[np.int64]
    """Position of each window's last bar [m]."""
    returns: NDArray[np.float32]
    """Log return from that bar's close to the next one's [m]."""

    def __len__(self) -> int:
        return len(self.ends)


@dataclass(frozen=True, eq=False)
class Fold:
    """Three parts, one after the other in time; no bar is seen by two of them."""

    number: int
    """Number of the fold, from 1."""
    train: Part
    validation: Part
    test: Part


@dataclass(frozen=True, eq=False)
class PriceDataset:
    """All windows of some bars, in folds.

    Each fold is trained and validated on everything before its test part; the test parts follow
    one another to the end of the data. The last fold's model is the one that is served.
    """

    bars: Bars
    schema: FeatureSchema
    columns: NDArray[np.float32]
    """One row of columns a bar [n, F]; windows are cut from it when they are needed."""
    folds: tuple[Fold, ...]
    left_out: int
    """Bars that end no window: the first ones, those after breaks, and those whose next bar is not known; and
    those ``without_volume``."""
    without_volume: int
    """Bars that end a window without any volume."""

    def rows(self, ends: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the raw windows that end at these bars, float32 [m, time_steps, F]."""
        assert self.schema.time_steps is not None
        return windows(self.columns, ends, self.schema.time_steps)

    @property
    def fitted(self) -> tuple[int, int]:
        """First and last position of the bars that the served model's fit saw, in windows or as returns."""
        fold = self.folds[-1]
        return int(fold.train.ends[0]) - self.schema.window + 1, int(fold.validation.ends[-1]) + 1


def default_max_gap_ns(interval_ns: int) -> int:
    """Return the largest gap between two bars of a window: that of neighbours, for daily bars a long weekend."""
    return interval_ns * WEEKEND_DAYS if interval_ns == DAY_NS else interval_ns


def bar_dataset(bars: Bars, indicators: bool, max_gap_ns: int, folds: int) -> PriceDataset:
    """Cut windows and lay out the folds.

    Between two parts lie as many bars as a window looks back on, and the one that its return looks
    ahead to: with fewer, the same bars would be fitted and then scored.

    Raises
    ------
    BadData
        Too few bars for the folds; with counts.
    """
    schema = bar_schema(indicators)
    ends, returns, without_volume = labelled_windows(bars, schema, max_gap_ns)
    every = Part(ends, returns.astype(np.float32))
    starts = np.linspace(len(ends) * (1 - TEST_SHARE), len(ends), folds + 1).astype(np.int64)
    laid_out = tuple(
        _fold(number, every, int(start), int(stop), schema.window)
        for number, (start, stop) in enumerate(pairwise(starts), 1)
    )
    least = min(len(part) for fold in laid_out for part in (fold.train, fold.validation, fold.test))
    if least < MIN_WINDOWS:
        first = laid_out[0]
        raise BadData(
            f"{bars.source}: expected at least {MIN_WINDOWS} windows in each part of {folds} folds, got "
            f"{len(first.train)} train, {len(first.validation)} validation and {len(first.test)} test windows in the "
            f"first, of {len(bars)} bars with {len(ends)} whole windows of {schema.window} bars with volume (as many "
            f"lie between two parts){breaks_note(bars.ts_event, max_gap_ns)}"
        )
    columns = bar_columns(bars.ohlcv(), indicators)
    return PriceDataset(bars, schema, columns, laid_out, len(bars) - len(ends), without_volume)


def labelled_windows(
    bars: Bars, schema: FeatureSchema, max_gap_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Return the windows that have volume and a next bar without a gap.

    Returns
    -------
    ends : int64 [m]
        Position of each window's last bar.
    returns : float64 [m]
        Log return from that bar's close to the next one's.
    without_volume : int
        Windows that are left out as they have no volume.
    """
    ends = window_ends(bars.ts_event, max_gap_ns, schema.window)
    ends = ends[ends < len(bars) - 1]
    ends = ends[bars.ts_event[ends + 1] - bars.ts_event[ends] <= max_gap_ns]
    traded = have_volume(bars.volumes(), ends)
    ends, close = ends[traded], bars.prices()
    return ends, np.log(close[ends + 1] / close[ends]), int((~traded).sum())


def _fold(number: int, every: Part, start: int, stop: int, lookback: int) -> Fold:
    """Return the fold whose test part are the windows from ``start`` to ``stop``."""
    before = _before(every, start, lookback)
    split = int(before * (1 - VALIDATION_SHARE))
    return Fold(
        number,
        train=_slice(every, 0, _before(every, split, lookback)),
        validation=_slice(every, split, before),
        test=_slice(every, start, stop),
    )


def _before(every: Part, start: int, lookback: int) -> int:
    """Return how many windows end, their return included, before the first bar of window ``start``."""
    if start >= len(every):
        return 0
    first_bar = every.ends[start] - lookback + 1
    return int(np.searchsorted(every.ends + 1, first_bar, side="left"))


def _slice(every: Part, start: int, stop: int) -> Part:
    return Part(every.ends[start:stop], every.returns[start:stop])
