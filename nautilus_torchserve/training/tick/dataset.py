"""Labelled rows from trades, split by time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_defs.tick_classifier import CLASSES
from nautilus_torchserve.features.tick import WINDOW, tick_features
from nautilus_torchserve.market.trades.labels import UNKNOWN, LabelConfig, label
from nautilus_torchserve.market.trades.trades import BadData, Trades

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
MIN_ROWS = 64
"""Fewest rows of a part, and how many of the test part become golden rows."""


@dataclass(frozen=True, eq=False)
class Part:
    """Consecutive rows of a data set."""

    rows: NDArray[np.float32]
    """Raw features [m, columns]."""
    labels: NDArray[np.int64]
    """Class of each row [m]."""
    index: NDArray[np.int64]
    """Position of each row's trade among all trades [m]."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """Three parts, one after the other in time; no trade is seen by two of them.

    A row looks back `WINDOW` trades and its label ahead ``horizon`` trades, so the last row
    of one part and the first of the next are the sum of both further apart than
    neighbours are. With less, the same price moves would be fitted and then scored.
    """

    train: Part
    validation: Part
    test: Part
    horizon: int
    """Trades that a label looks ahead."""

    @property
    def fitted(self) -> tuple[int, int]:
        """First and last position of the trades that the fit saw, in features or labels of train and validation.

        A backtest that is to say something begins after the last.
        """
        return int(self.train.index[0]) - WINDOW, int(self.validation.index[-1]) + self.horizon


def tick_dataset(trades: Trades, labels: LabelConfig) -> DatasetSplit:
    """Compute features and labels, and split them 60/20/20 by time.

    Rows whose window is still filling and rows whose future is not known are left out.

    Raises
    ------
    BadData
        Too few trades, or a class that the training part lacks; with counts.
    """
    classes = label(trades.price, labels.horizon, labels.cost_bps)
    rows = tick_features(trades.price, trades.size, trades.side, trades.ts_event, WINDOW)
    index = np.flatnonzero((np.arange(len(trades)) >= WINDOW) & (classes != UNKNOWN))
    gap = WINDOW + labels.horizon
    left = max(len(index) - 2 * gap, 0)
    counts = {name: int(share * left) for name, share in SHARES.items()}
    if min(counts.values()) < MIN_ROWS:
        part_rows = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise BadData(
            f"{trades.source}: expected at least {MIN_ROWS} rows in each part, got {part_rows} of "
            f"{len(trades)} trades ({WINDOW} go to the first window, {labels.horizon} to the last labels, {gap} to "
            "each of two gaps)"
        )
    parts, start = {}, 0
    for name, count in counts.items():
        chosen = index[start : start + count]
        parts[name] = Part(rows[chosen], classes[chosen].astype(np.int64), chosen)
        start += count + gap
    _refuse_missing_class(trades.source, parts["train"], labels)
    return DatasetSplit(**parts, horizon=labels.horizon)


def _refuse_missing_class(source: str, train: Part, labels: LabelConfig) -> None:
    counts = np.bincount(train.labels, minlength=len(CLASSES)).tolist()
    if min(counts) == 0:
        counted = ", ".join(f"{count} {name}" for name, count in zip(CLASSES, counts, strict=True))
        raise BadData(
            f"{source}: expected every class in the training part, got {counted} "
            f"at horizon {labels.horizon} and cost {labels.cost_bps:g} bps; "
            "choose a longer horizon (--label-trades), a lower cost (--cost-bps), or more trades"
        )
