import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.trades.labels import BUY, HOLD, SELL, UNKNOWN, label


def test_labels_by_hand() -> None:
    price = np.array([100_000, 100_010, 100_021, 100_010, 99_999])  # steps of 1 bps and about 1.1 bps

    assert label(price, horizon=1, cost_bps=1.0).tolist() == [HOLD, BUY, SELL, SELL, UNKNOWN]


prices = st.lists(st.integers(1, 10**12), max_size=60).map(lambda values: np.array(values, dtype=np.int64))


@given(prices, st.integers(1, 30), st.floats(0, 1000))
def test_labels_follow_the_definition(price: np.ndarray, horizon: int, cost_bps: float) -> None:
    labels = label(price, horizon, cost_bps)

    assert labels.dtype == np.int8
    for i, given_label in enumerate(labels):
        if i + horizon >= len(price):
            assert given_label == UNKNOWN
            continue
        bps = 1e4 * int(price[i + horizon] - price[i]) / int(price[i])
        assert given_label == (BUY if bps > cost_bps else SELL if bps < -cost_bps else HOLD)


@given(prices, st.integers(1, 30), st.integers(0, 60))
def test_only_the_horizon_matters(price: np.ndarray, horizon: int, cut: int) -> None:
    whole, part = label(price, horizon), label(price[:cut], horizon)

    known = part != UNKNOWN
    assert (part[known] == whole[: len(part)][known]).all()


@pytest.mark.parametrize(("horizon", "cost_bps"), [(0, 1.0), (-1, 1.0), (1, -0.1), (1, float("nan"))])
def test_invalid_label_config_is_refused(horizon: int, cost_bps: float) -> None:
    with pytest.raises(ValueError, match="of at least"):
        label(np.ones(5, dtype=np.int64), horizon, cost_bps)
