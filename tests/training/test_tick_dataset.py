import numpy as np
import pytest

from nautilus_torchserve.features.tick import WINDOW, tick_features
from nautilus_torchserve.market.trades.labels import LabelConfig, label
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.training.tick.dataset import DatasetSplit, tick_dataset


def test_rows_and_labels_are_those_of_their_trades(trades: Trades, split: DatasetSplit) -> None:
    rows = tick_features(trades.price, trades.size, trades.side, trades.ts_event)
    labels = label(trades.price)

    for part in (split.train, split.validation, split.test):
        assert np.isfinite(part.rows).all()
        assert (part.labels >= 0).all()
        np.testing.assert_array_equal(part.rows, rows[part.index])
        np.testing.assert_array_equal(part.labels, labels[part.index])


def test_no_trade_is_seen_by_two_parts(split: DatasetSplit) -> None:
    for before, after in ((split.train, split.validation), (split.validation, split.test)):
        assert before.index[-1] + split.horizon < after.index[0] - WINDOW


def test_shares_are_60_20_20(split: DatasetSplit) -> None:
    sizes = np.array([len(split.train), len(split.validation), len(split.test)])

    np.testing.assert_allclose(sizes / sizes.sum(), [0.6, 0.2, 0.2], atol=0.001)


def test_the_fit_saw_first_window_to_last_label(trades: Trades, split: DatasetSplit) -> None:
    first, last = split.fitted

    assert first == 0
    assert last == split.validation.index[-1] + 20
    assert last < split.test.index[0] - WINDOW


def test_too_few_trades_are_refused_with_counts() -> None:
    with pytest.raises(BadData, match=r"expected at least 64 rows in each part, got 188 train, 62 validation, 62 test"):
        tick_dataset(simulate(470), LabelConfig())


@pytest.mark.parametrize("count", [1, 10, 100])
def test_very_few_trades_are_refused(count: int) -> None:
    with pytest.raises(BadData, match=f"got 0 train, 0 validation, 0 test of {count} trades"):
        tick_dataset(simulate(count), LabelConfig())


def test_a_missing_class_is_refused_with_counts(trades: Trades) -> None:
    with pytest.raises(BadData, match=r"expected every class in the training part, got 0 buy, 0 sell, \d+ hold"):
        tick_dataset(trades, LabelConfig(cost_bps=5_000.0))
