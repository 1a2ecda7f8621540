"""Windows of bars and their indicator columns, as arrays; the streaming form is held to them in tests/trading."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import (
    INDICATORS,
    OHLCV,
    TIME_STEPS,
    WARM_UP,
    bar_columns,
    bar_schema,
    window_ends,
    windows,
)


def random_bars(count: int, seed: int = 3) -> NDArray[np.float64]:
    """Open, high, low, close, volume of a random walk, float64 [count, 5]."""
    random = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 1e-3, count))), 2)
    open_ = np.concatenate([[100.0], close[:-1]])
    span = np.round(np.abs(random.normal(0, 0.05, (2, count))), 2)
    high, low = np.maximum(open_, close) + span[0], np.minimum(open_, close) - span[1]
    return np.stack([open_, high, low, close, np.round(random.lognormal(0, 1, count), 3)], axis=1)


def test_rows_have_the_schemas_shape() -> None:
    for indicators, width in ((False, 5), (True, 5 + len(INDICATORS))):
        schema = bar_schema(indicators)
        columns = bar_columns(random_bars(200), indicators)

        assert schema.row_shape == (TIME_STEPS, width)
        assert windows(columns, np.array([150, 151]), TIME_STEPS).shape == (2, *schema.row_shape)


def test_other_columns_are_another_schema() -> None:
    assert bar_schema(False).sha256 != bar_schema(True).sha256
    assert bar_schema(True).columns[:5] == bar_schema(False).columns == OHLCV


def test_a_window_ends_with_its_bar_the_oldest_first() -> None:
    columns = bar_columns(random_bars(100))

    (window,) = windows(columns, np.array([80]), TIME_STEPS)

    np.testing.assert_array_equal(window, columns[21:81])


def test_no_windows_are_an_empty_array() -> None:
    assert windows(bar_columns(random_bars(100)), np.array([], dtype=np.int64)).shape == (0, TIME_STEPS, 5)


@given(st.lists(st.integers(1, 4), max_size=60), st.integers(1, 3), st.integers(1, 12))
def test_a_window_never_spans_a_break(gaps: list[int], max_gap: int, lookback: int) -> None:
    ts = np.cumsum([0, *gaps])

    ends = window_ends(ts, max_gap, lookback)

    assert ends.tolist() == [
        end
        for end in range(len(ts))
        if end >= lookback - 1 and all(ts[at] - ts[at - 1] <= max_gap for at in range(end - lookback + 2, end + 1))
    ]


def test_only_warm_up_values_are_missing() -> None:
    columns = bar_columns(random_bars(200), indicators=True)

    assert np.isnan(columns[: WARM_UP - 1, 5:]).all()
    assert np.isfinite(columns[WARM_UP - 1 :]).all()


@given(st.integers(WARM_UP, 190))
def test_the_future_changes_nothing(cut: int) -> None:
    bars = random_bars(200)

    np.testing.assert_array_equal(bar_columns(bars[:cut], True), bar_columns(bars, True)[:cut])


@given(st.integers(1, 140))
def test_where_the_data_begin_changes_nothing(start: int) -> None:
    bars = random_bars(200)

    later = bar_columns(bars[start:], True)

    np.testing.assert_array_equal(later[WARM_UP - 1 :], bar_columns(bars, True)[start + WARM_UP - 1 :])


def test_a_price_that_only_rises_has_the_greatest_strength() -> None:
    bars = np.tile(np.linspace(100, 200, 80)[:, None], (1, 5))

    rsi = bar_columns(bars, True)[WARM_UP:, 5]

    assert (rsi == 1.0).all()
