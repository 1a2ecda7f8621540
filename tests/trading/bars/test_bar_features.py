"""The streaming form of the bar features, held to the vectorised one bit for bit."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.features.bar import (
    VOLUME,
    WARM_UP,
    bar_columns,
    bar_schema,
    have_volume,
    indicator_columns,
    window_ends,
    windows,
)
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.trading.bars.features import BarFeatures, BarIndicators
from support import REAL_DATA

MINUTE = 60 * 10**9
REAL_BARS = REAL_DATA / "btc_perp_1m_2022-01.csv.gz"


def random_bars(seed: int, count: int, decimals: int, break_share: float, flat_share: float) -> tuple[np.ndarray, ...]:
    """Bars of an instrument that sometimes stands still, float64 [n, 5] and int64 [n], with breaks."""
    random = np.random.default_rng(seed)
    moves = random.integers(-500, 501, (count, 4)) * (random.random((count, 1)) >= flat_share)
    level = 10_000 + np.abs(np.cumsum(moves[:, 0]))
    open_, close = level, np.abs(level + moves[:, 1]) + 1
    high = np.maximum(open_, close) + np.abs(moves[:, 2])
    low = np.maximum(np.minimum(open_, close) - np.abs(moves[:, 3]), 1)
    volume = random.integers(0, 10**9, count)
    ohlcv = np.stack([open_, high, low, close, volume], axis=1) / 10.0**decimals
    ts_event = np.cumsum(MINUTE * (1 + random.integers(1, 90, count) * (random.random(count) < break_share)))
    return ohlcv, ts_event


def streamed(ohlcv: np.ndarray, ts_event: np.ndarray, features: BarFeatures) -> tuple[list[int], list[np.ndarray]]:
    """Which bars ended a window, and these."""
    ends, window_list = [], []
    for place, (row, ts) in enumerate(zip(ohlcv.tolist(), ts_event.tolist(), strict=True)):
        window = features.update(*row, ts)
        if window is not None:
            ends.append(place)
            window_list.append(window)
    return ends, window_list


def assert_equal_bits(ohlcv: np.ndarray, ts_event: np.ndarray, indicators: bool, time_steps: int) -> int:
    """Hold the streaming form to the vectorised one; how many windows there were."""
    whole = window_ends(ts_event, MINUTE, bar_schema(indicators, time_steps).window)
    expected_ends = whole[have_volume(ohlcv[:, VOLUME], whole, time_steps)]
    expected = windows(bar_columns(ohlcv, indicators), expected_ends, time_steps)

    features = BarFeatures(indicators, MINUTE, time_steps)
    ends, window_list = streamed(ohlcv, ts_event, features)

    assert ends == expected_ends.tolist()
    assert features.without_volume == len(whole) - len(ends)
    assert (expected[:, :, VOLUME].max(axis=1, initial=0) > 0).all()
    if ends:
        np.testing.assert_array_equal(np.stack(window_list).view(np.uint32), expected.view(np.uint32))
    return len(ends)


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 400),
    decimals=st.integers(0, 8),
    break_share=st.sampled_from([0.0, 0.01, 0.3]),
    flat_share=st.sampled_from([0.0, 0.5, 0.99]),
    quiet_share=st.sampled_from([0.0, 0.5, 0.98]),
    indicators=st.booleans(),
    time_steps=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_any_bars_give_the_vectorised_windows_bit_for_bit(
    seed: int,
    count: int,
    decimals: int,
    break_share: float,
    flat_share: float,
    quiet_share: float,
    indicators: bool,
    time_steps: int,
) -> None:
    ohlcv, ts_event = random_bars(seed, count, decimals, break_share, flat_share)
    ohlcv[np.random.default_rng(seed).random(count) < quiet_share, VOLUME] = 0

    assert_equal_bits(ohlcv, ts_event, indicators, time_steps)


@given(seed=st.integers(0, 2**32), flat_share=st.sampled_from([0.0, 0.5, 0.99]))
@settings(max_examples=20, deadline=None)
def test_nautilus_indicators_equal_ours_in_every_bit_of_a_float64(seed: int, flat_share: float) -> None:
    ohlcv, _ = random_bars(seed, 300, 2, 0.0, flat_share)
    indicators = BarIndicators()

    rows = np.array([indicators.update(*row[:4]) for row in ohlcv.tolist()])

    expected = indicator_columns(ohlcv)
    np.testing.assert_array_equal(rows[WARM_UP - 1 :].view(np.uint64), expected[WARM_UP - 1 :].view(np.uint64))


@pytest.mark.skipif(not REAL_BARS.is_file(), reason="the real sample is not here")
@pytest.mark.parametrize("indicators", [False, True])
def test_real_bars_give_the_vectorised_windows_bit_for_bit(indicators: bool) -> None:
    bars = load_bars(REAL_BARS, 0, 0)

    assert assert_equal_bits(ohlcv_of(bars), bars.ts_event, indicators, 60) > 44_000
    assert len(bars) == 45_031


def ohlcv_of(bars: Bars) -> np.ndarray:
    return np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)


@pytest.mark.parametrize("indicators", [False, True])
def test_no_window_holds_a_warm_up_row_or_spans_a_break(indicators: bool) -> None:
    ohlcv, ts_event = random_bars(1, 400, 2, 0.0, 0.0)
    ts_event = ts_event + np.where(np.arange(400) >= 200, 7 * MINUTE, 0)
    needed = 60 + (WARM_UP - 1 if indicators else 0)

    ends, window_list = streamed(ohlcv, ts_event, BarFeatures(indicators, MINUTE))

    assert ends == [*range(needed - 1, 200), *range(200 + needed - 1, 400)]
    assert all(np.isfinite(window).all() for window in window_list)


def test_a_window_stays_as_it_was_given() -> None:
    ohlcv, ts_event = random_bars(1, 150, 2, 0.0, 0.0)
    features = BarFeatures(False, MINUTE)
    kept: Iterable[np.ndarray] = streamed(ohlcv[:60], ts_event[:60], features)[1]
    (before,) = (window.copy() for window in kept)

    streamed(ohlcv[60:], ts_event[60:], features)

    (after,) = kept
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("ts_event", [10 * MINUTE, 9 * MINUTE])
def test_a_bar_not_after_its_predecessor_is_refused(ts_event: int) -> None:
    features = BarFeatures(False, MINUTE)
    features.update(1.0, 1.0, 1.0, 1.0, 1.0, 10 * MINUTE)

    with pytest.raises(ValueError, match=f"expected a bar after {10 * MINUTE}, got one of {ts_event}"):
        features.update(1.0, 1.0, 1.0, 1.0, 1.0, ts_event)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_gap_ns": 0}, "expected max_gap_ns of at least 1, got 0"),
        ({"time_steps": 0}, "expected time_steps of at least 1"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BarFeatures(**{"indicators": False, "max_gap_ns": MINUTE, **wrong})
