"""The data set of an ensemble's weights: bars that its price model has not seen, and the news before them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_columns, windows
from nautilus_torchserve.features.news_window import NewsWindowConfig, news_before
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.training.price.dataset import labelled_windows

FIT_SHARE = 0.5
"""Share of the bars unseen by the price model that the weights are fitted on; the rest is the test part."""
MIN_WITH_NEWS = 50
"""Least number of windows with news and a move after them, in each part."""

Score = Callable[[Sequence[str]], NDArray[np.float64]]
"""Texts -> their sentiment scores, NaN where the model refuses one."""


@dataclass(frozen=True, eq=False)
class NewsPart:
    """Consecutive windows, those without news among them."""

    rows: NDArray[np.float32]
    """float32 [m, time_steps, columns]."""
    returns: NDArray[np.float64]
    """Log return from each window's last close to the next [m]."""
    ts_event: NDArray[np.int64]
    """When each window's last bar closed [m]."""
    counts: NDArray[np.int64]
    """Texts of each window [m]."""
    texts: tuple[str, ...]
    """Texts of all windows, one after the other."""
    scores: NDArray[np.float64]
    """Sentiment score of each text."""
    ages_s: NDArray[np.float64]
    """Seconds from each text's receipt to its window's last close."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class NewsDataset:
    """Two parts, one after the other in time, with a window's length between them."""

    fit: NewsPart
    test: NewsPart
    last_ts_event: int
    """Time of the last bar that the fit of the weights sees, as a return."""
    refused: int
    """Number of headlines that the sentiment model refuses."""


def news_dataset(
    bars: Bars, headlines: Sequence[Headline], price: dict[str, Any], config: NewsWindowConfig, score: Score
) -> NewsDataset:
    """Cut the windows after what the price model's fit saw, with the texts that an actor would send with each.

    Parameters
    ----------
    bars : Bars
        All there are.
    headlines : sequence of Headline
        By time of receipt; those on other instruments are left out.
    price : dict
        The price model's ``model.json``.
    score : callable
        Called once, with each different text.

    Raises
    ------
    BadData
        The bars are not of the price model's interval, or too few windows have news.
    """
    schema = FeatureSchema.from_dict(price["feature_schema"])
    _refuse_other_interval(bars, price)
    ends, returns, _ = labelled_windows(bars, schema, price["bars"]["max_gap_ns"])
    unseen = bars.ts_event[ends - schema.window + 1] > price["training"]["last_ts_event"]
    ends, returns = ends[unseen], returns[unseen]
    held = [headline for headline in headlines if bars.instrument.instrument_id in headline.instrument_ids]
    scores = _scores(held, score)
    known = [(headline, value) for headline, value in zip(held, scores, strict=True) if not np.isnan(value)]
    middle = int(len(ends) * FIT_SHARE)
    gap = int(np.searchsorted(ends, ends[middle] + schema.window)) if middle < len(ends) else len(ends)
    fit, test = (
        _part(bars, ends[chosen], returns[chosen], known, price["bars"]["indicators"], schema, config)
        for chosen in (slice(0, middle), slice(gap, len(ends)))
    )
    for part in (fit, test):
        with_news = int(((part.counts > 0) & (part.returns != 0)).sum())
        if with_news < MIN_WITH_NEWS:
            raise BadData(
                f"{bars.source}: expected at least {MIN_WITH_NEWS} windows with news in each half of the bars that the "
                f"price model has not seen, got {with_news} of {len(part)}, with {len(known)} headlines on "
                f"{bars.instrument.instrument_id}"
            )
    return NewsDataset(fit, test, int(bars.ts_event[ends[middle - 1] + 1]), len(held) - len(known))


def _refuse_other_interval(bars: Bars, price: dict[str, Any]) -> None:
    expected, interval = price["bars"]["interval_ns"] / 1e9, bars.interval_ns / 1e9
    if interval != expected:
        raise BadData(f"{bars.source}: expected bars of {expected:g} s as the price model, got {interval:g} s")


def _scores(headlines: Sequence[Headline], score: Score) -> NDArray[np.float64]:
    texts = sorted({headline.text for headline in headlines})
    by_text = dict(zip(texts, score(texts).tolist(), strict=True)) if texts else {}
    return np.array([by_text[headline.text] for headline in headlines], dtype=np.float64)


def _part(
    bars: Bars,
    ends: NDArray[np.int64],
    returns: NDArray[np.float64],
    known: Sequence[tuple[Headline, float]],
    indicators: bool,
    schema: FeatureSchema,
    config: NewsWindowConfig,
) -> NewsPart:
    received = np.array([headline.ts_init for headline, _ in known], dtype=np.int64)
    now = bars.ts_event[ends]
    start, stop = news_before(received, now, config)
    places = np.concatenate([np.arange(a, b) for a, b in zip(start, stop, strict=True)] or [np.empty(0)]).astype(
        np.int64
    )
    counts = stop - start
    assert schema.time_steps is not None
    return NewsPart(
        rows=windows(bar_columns(bars.ohlcv(), indicators), ends, schema.time_steps),
        returns=returns,
        ts_event=now,
        counts=counts,
        texts=tuple(known[at][0].text for at in places),
        scores=np.array([known[at][1] for at in places], dtype=np.float64),
        ages_s=(np.repeat(now, counts) - received[places]) / 1e9,
    )
