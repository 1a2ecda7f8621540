from dataclasses import replace

import numpy as np
import pytest

from nautilus_torchserve.features.bar import bar_columns
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.training.price.dataset import DAY_NS, Part, PriceDataset, bar_dataset, default_max_gap_ns


def seen(part: Part, lookback: int) -> set[int]:
    """Every bar that a part's windows hold, or whose close its returns lead to."""
    return {bar for end in part.ends.tolist() for bar in range(end - lookback + 1, end + 2)}


@pytest.mark.parametrize("indicators", [False, True])
def test_no_bar_is_seen_by_two_parts_of_a_fold(bars: Bars, indicators: bool) -> None:
    dataset = bar_dataset(bars, indicators, bars.interval_ns, folds=2)

    for fold in dataset.folds:
        parts = (fold.train, fold.validation, fold.test)
        train, validation, test = (seen(part, dataset.schema.window) for part in parts)
        assert not train & validation
        assert not (train | validation) & test
        assert max(train) < min(validation) <= max(validation) < min(test)


def test_test_parts_follow_one_another_to_the_end(bars: Bars, dataset: PriceDataset) -> None:
    tested = np.concatenate([fold.test.ends for fold in dataset.folds])

    assert (np.diff(tested) == 1).all()
    assert tested[-1] == len(bars) - 2
    assert len(tested) == pytest.approx(0.4 * (len(bars) - dataset.left_out), abs=1)


def test_each_fold_is_fitted_on_all_that_came_before(dataset: PriceDataset) -> None:
    assert [fold.train.ends[0] for fold in dataset.folds] == [59, 59]
    assert len(dataset.folds[0].train) < len(dataset.folds[1].train)


def test_a_return_leads_to_the_next_close(bars: Bars, dataset: PriceDataset) -> None:
    part = dataset.folds[0].test
    close = bars.prices()

    np.testing.assert_allclose(part.returns, np.log(close[part.ends + 1] / close[part.ends]), rtol=1e-6)


def test_rows_are_the_bars_themselves(bars: Bars, dataset: PriceDataset) -> None:
    end = dataset.folds[0].train.ends[3]

    (row,) = dataset.rows(np.array([end]))

    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    np.testing.assert_array_equal(row, bar_columns(ohlcv)[end - 59 : end + 1])


def test_neither_window_nor_return_crosses_a_break(bars: Bars) -> None:
    ts_event = bars.ts_event.copy()
    ts_event[700:] += 5 * bars.interval_ns
    broken = replace(bars, ts_event=ts_event)

    dataset = bar_dataset(broken, False, bars.interval_ns, folds=2)

    ends = np.concatenate([part.ends for part in (dataset.folds[-1].train, dataset.folds[-1].validation)])
    assert not ((ends >= 699) & (ends < 700 + 59)).any()
    assert dataset.left_out == 2 * 60
    assert bar_dataset(broken, False, 6 * bars.interval_ns, folds=2).left_out == 60


def test_fitted_bars_end_before_the_served_models_test_part(bars: Bars, dataset: PriceDataset) -> None:
    first, last = dataset.fitted

    assert first == 0
    assert last == dataset.folds[-1].validation.ends[-1] + 1
    assert last < dataset.folds[-1].test.ends[0] - dataset.schema.window + 1


def test_too_few_bars_are_refused_with_counts(bars: Bars) -> None:
    with pytest.raises(BadData, match=r"expected at least 64 windows in each part of 2 folds, got .* 300 bars"):
        bar_dataset(bars.between(0, 300), False, bars.interval_ns, folds=2)


def test_fewer_bars_than_a_window_are_refused(bars: Bars) -> None:
    with pytest.raises(BadData, match="of 59 bars with 0 whole windows of 60 bars"):
        bar_dataset(bars.between(0, 59), False, bars.interval_ns, folds=1)


def test_bars_with_breaks_everywhere_are_refused_with_the_remedy(bars: Bars) -> None:
    kept = bars.take(np.flatnonzero(np.arange(len(bars)) % 50))
    with pytest.raises(BadData, match=r"0 whole windows .* more than 60 s apart .*, by up to 120 s: .* --max-gap"):
        bar_dataset(kept, False, bars.interval_ns, folds=1)


def test_days_may_have_weekends_between_them() -> None:
    assert default_max_gap_ns(DAY_NS) == 4 * DAY_NS
    assert default_max_gap_ns(60_000_000_000) == 60_000_000_000
