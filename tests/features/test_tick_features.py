from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.features.tick import WINDOW, TickFeatures, tick_features, tick_schema


class Tape(NamedTuple):
    price: np.ndarray
    size: np.ndarray
    side: np.ndarray
    ts_event: np.ndarray


def make_tape(seed: int, trades: int, digits: int) -> Tape:
    """Random trades whose integers go up to 10**digits; bursts share their timestamp."""
    rng = np.random.default_rng(seed)
    return Tape(
        price=rng.integers(1, 10**digits, trades),
        size=rng.integers(1, 10 ** min(digits, 9), trades),
        side=rng.integers(-1, 2, trades).astype(np.int8),
        ts_event=1_700_000_000_000_000_000 + np.cumsum(rng.integers(0, 3, trades) * rng.integers(1, 10**9, trades)),
    )


def stream(tape: Tape, window: int) -> np.ndarray:
    """The streaming form's rows as float32, NaN while the window fills."""
    features = TickFeatures(window)
    rows = np.full((len(tape.price), 4), np.nan, dtype=np.float32)
    for i, trade in enumerate(zip(*(column.tolist() for column in tape), strict=True)):
        row = features.update(*trade)
        if row is not None:
            rows[i] = row
    return rows


tapes = st.builds(make_tape, st.integers(0, 2**32), st.integers(0, 120), st.integers(1, 12))
windows = st.integers(1, 40)


@given(tapes, windows)
def test_streaming_and_vectorised_forms_agree_bit_for_bit(tape: Tape, window: int) -> None:
    assert stream(tape, window).tobytes() == tick_features(*tape, window=window).tobytes()


@given(tapes, windows, st.integers(0, 120))
def test_the_future_changes_nothing(tape: Tape, window: int, now: int) -> None:
    past = Tape(*(column[:now] for column in tape))

    assert tick_features(*past, window=window).tobytes() == tick_features(*tape, window=window)[:now].tobytes()


@given(tapes, windows, st.integers(0, 120), st.sampled_from([1, 10, 1000]), st.sampled_from([1, 100]))
def test_a_stream_goes_on_in_finer_steps(tape: Tape, window: int, now: int, price: int, size: int) -> None:
    fine = tape._replace(price=tape.price * price, size=tape.size * size)
    features = TickFeatures(window)
    for trade in zip(*(column[:now].tolist() for column in tape), strict=True):
        features.update(*trade)

    features.refine(price, size)
    rows = [features.update(*trade) for trade in zip(*(column[now:].tolist() for column in fine), strict=True)]

    expected = tick_features(*fine, window=window)[now:]
    incremental = np.array([[np.nan] * 4 if row is None else row for row in rows], dtype=np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(incremental, expected)


@given(tapes, windows, st.integers(1, 50))
def test_the_units_of_price_size_and_time_change_nothing(tape: Tape, window: int, factor: int) -> None:
    start = 1_700_000_000_000_000_000
    scaled = tape._replace(
        price=tape.price * factor, size=tape.size * factor, ts_event=start + (tape.ts_event - start) * factor
    )

    np.testing.assert_allclose(
        tick_features(*scaled, window=window), tick_features(*tape, window=window), rtol=1e-6, atol=0
    )


@given(tapes, windows)
def test_ratios_stay_in_their_ranges(tape: Tape, window: int) -> None:
    rows = tick_features(*tape, window=window)[window:]

    assert np.isfinite(rows).all()
    assert (np.abs(rows[:, 1]) <= 1).all()
    assert ((rows[:, 2:] >= 0) & (rows[:, 2:] <= 1)).all()


def test_values_by_hand() -> None:
    rows = tick_features(
        price=np.array([10_000, 10_010, 10_020]),
        size=np.array([5, 3, 1]),
        side=np.array([1, 1, -1], dtype=np.int8),
        ts_event=np.array([0, 10, 40]),
        window=2,
    )

    assert np.isnan(rows[:2]).all()
    np.testing.assert_allclose(rows[2], [20.0, (3 - 1) / 4, 2 / (2 + 4), 60 / (60 + 40)], rtol=1e-6)


def test_trades_at_the_same_time_have_no_gap() -> None:
    same = np.ones(5, dtype=np.int64)

    rows = tick_features(same, same, same.astype(np.int8), same, window=2)

    assert (rows[2:, 3] == 0).all()


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_without_trades_is_refused(window: int) -> None:
    empty = np.array([], dtype=np.int64)

    with pytest.raises(ValueError, match=f"expected window of at least 1 trade, got {window}"):
        TickFeatures(window)
    with pytest.raises(ValueError, match=f"expected window of at least 1 trade, got {window}"):
        tick_features(empty, empty, empty.astype(np.int8), empty, window)


def test_the_schema_describes_the_rows() -> None:
    schema = tick_schema()

    assert schema.window == WINDOW
    assert schema.row_shape == tick_features(*make_tape(1, 50, 5)).shape[1:]
