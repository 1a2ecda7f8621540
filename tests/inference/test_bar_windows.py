"""Windows that are no bars of one instrument are refused, naming the place; all others pass."""

import warnings
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model_defs.return_network import relative
from nautilus_torchserve.features.bar import (
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    VOLUME,
    bar_columns,
    bar_schema,
    window_ends,
    windows,
)
from nautilus_torchserve.inference.models.price import MAX_JUMP, allows_jumps, check_windows
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.simulator import BarSimulatorConfig, simulate_bars
from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.errors import BadShape, BadWindow, NotFinite, RequestError

MINUTE_NS = 60_000_000_000
SHAPE = bar_schema().row_shape


def windows_of(bars: Bars, indicators: bool = False) -> np.ndarray:
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    ends = window_ends(bars.ts_event, bars.interval_ns, bar_schema(indicators).window)
    return windows(bar_columns(ohlcv, indicators), ends)


@pytest.fixture
def rows() -> np.ndarray:
    """Three windows, float32 [3, 60, 5]."""
    return windows_of(simulate_bars(62))


@pytest.fixture
def ts_event() -> np.ndarray:
    """The times of three windows, int64 [3, 60]."""
    return np.arange(3)[:, None] * MINUTE_NS + np.arange(60) * MINUTE_NS + 1_704_067_200_000_000_000


def refusal(rows: np.ndarray, ts_event: np.ndarray | None = None) -> str:
    with pytest.raises(BadWindow) as refused:
        check_windows(body.RowRequest(rows, ts_event=ts_event))
    assert refused.value.code == 422
    return str(refused.value)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    volatility_bps=st.floats(0.1, 200),
    price=st.floats(1, 1e6),
    volume=st.floats(0.01, 1e6),
    indicators=st.booleans(),
)
def test_any_simulated_window_passes(
    seed: int, volatility_bps: float, price: float, volume: float, indicators: bool
) -> None:
    market = BarSimulatorConfig(start_price=price, minute_volatility_bps=volatility_bps, minute_volume=volume)
    bars = simulate_bars(120, seed, market)
    rows = windows_of(bars, indicators)
    times = np.lib.stride_tricks.sliding_window_view(bars.ts_event, 60)[-len(rows) :]

    check_windows(body.RowRequest(rows, ts_event=times))


@pytest.mark.parametrize("column", [OPEN, HIGH, LOW, CLOSE])
@pytest.mark.parametrize("value", [0.0, -1.5])
def test_price_that_is_none_is_refused(rows: np.ndarray, column: int, value: float) -> None:
    name = ("open", "high", "low", "close")[column]
    rows[1, 17, column] = value

    assert refusal(rows) == f"expected positive prices, got {value:g} in window 1, step 17, column {name}"


def test_first_place_is_named(rows: np.ndarray) -> None:
    rows[2, 3, OPEN] = rows[1, 40, LOW] = rows[1, 39, CLOSE] = -1

    assert refusal(rows).endswith("in window 1, step 39, column close")


@pytest.mark.parametrize("column", [OPEN, LOW, CLOSE])
def test_high_below_another_price_is_refused(rows: np.ndarray, column: int) -> None:
    rows[2, 5, :VOLUME] = 100
    rows[2, 5, column] = 101
    message = refusal(rows)

    if column == LOW:  # a low above open and close is a high below the low, too
        assert message == "expected a low not above open and close, got 101 in window 2, step 5, column low"
    else:
        assert message == "expected a high not below open and close, got 100 in window 2, step 5, column high"


def test_high_and_low_exchanged_are_refused(rows: np.ndarray) -> None:
    rows[0, 59, [HIGH, LOW]] = rows[0, 59, [LOW, HIGH]]

    assert refusal(rows).startswith("expected a high not below open and close, got ")
    assert refusal(rows).endswith("in window 0, step 59, column high")


def test_flat_bar_passes(rows: np.ndarray) -> None:
    rows[:, 30, :VOLUME] = rows[:, 30, CLOSE, None]
    rows[:, 30, VOLUME] = 0

    check_windows(body.RowRequest(rows))


def test_negative_volume_is_refused(rows: np.ndarray) -> None:
    rows[1, 2, VOLUME] = -0.25

    assert refusal(rows) == "expected volume of at least 0, got -0.25 in window 1, step 2, column volume"


def test_zero_volume_throughout_is_refused(rows: np.ndarray) -> None:
    rows[1, :, VOLUME] = 0

    assert refusal(rows) == "expected some volume in window 1, column volume, got 0 throughout"


def test_volume_in_one_bar_is_enough(rows: np.ndarray) -> None:
    rows[1, :, VOLUME] = 0
    rows[1, 4, VOLUME] = 1e-3

    check_windows(body.RowRequest(rows))


def test_volume_too_small_for_a_mean_is_none(rows: np.ndarray) -> None:
    rows[1, :, VOLUME] = 0
    rows[1, 4, VOLUME] = np.float32(1e-45)

    assert refusal(rows).startswith("expected some volume in window 1, column volume, got 1.4")


@pytest.mark.parametrize("factor", [1.01 * MAX_JUMP, 0.99 / MAX_JUMP, 1e30, 1e-30])
def test_prices_of_another_instrument_are_refused(rows: np.ndarray, factor: float) -> None:
    rows[:, :, :VOLUME] = 100
    rows[2, 21:, :VOLUME] *= factor

    assert refusal(rows) == (
        "expected closes of one instrument, at most 4 times their neighbours, got "
        f"100 then {np.float32(100) * np.float32(factor):g} in window 2, step 21, column close"
    )


def test_a_model_that_was_fitted_on_jumps_answers_windows_with_them(rows: np.ndarray) -> None:
    rows[:, :, :VOLUME] = 100
    rows[2, 21:, :VOLUME] *= 12

    check_windows(body.RowRequest(rows), allows_jumps({"training": {"read": {"allow_jumps": True}}}))

    for training in ({}, {"read": {"allow_jumps": False}}):
        assert not allows_jumps({"training": training})


def test_two_instruments_in_one_request_pass(rows: np.ndarray) -> None:
    rows[1, :, :VOLUME] *= 1000

    check_windows(body.RowRequest(rows))


@pytest.mark.parametrize("factor", [0.99 * MAX_JUMP, 1.01 / MAX_JUMP])
def test_crash_passes(rows: np.ndarray, factor: float) -> None:
    rows[:, :, :VOLUME] = 100
    rows[2, 21:, :VOLUME] *= factor

    check_windows(body.RowRequest(rows))


@pytest.mark.parametrize("step_back_ns", [0, 1, MINUTE_NS, 5 * 10**18, 10**19])
def test_time_that_does_not_increase_is_refused(rows: np.ndarray, ts_event: np.ndarray, step_back_ns: int) -> None:
    ts_event[2, 9] = 9 * 10**18
    ts_event[2, 10] = 9 * 10**18 - step_back_ns

    assert refusal(rows, ts_event) == (
        f"expected ts_event increasing within a window, got {9 * 10**18 - step_back_ns} after {9 * 10**18} "
        "in window 2, step 10"
    )


def test_windows_need_not_be_in_order_of_time(rows: np.ndarray, ts_event: np.ndarray) -> None:
    check_windows(body.RowRequest(rows, ts_event=ts_event[::-1]))


def test_jumbled_window_is_refused_by_its_times_only(rows: np.ndarray, ts_event: np.ndarray) -> None:
    rows[0, [10, 20]], ts_event[0, [10, 20]] = rows[0, [20, 10]], ts_event[0, [20, 10]]

    assert refusal(rows, ts_event).endswith("in window 0, step 11")
    check_windows(body.RowRequest(rows))  # nothing in the values betrays it


@pytest.mark.parametrize(
    ("shape", "was"), [((1, 59, 5), [1, 59, 5]), ((2, 61, 5), [2, 61, 5]), ((1, 60, 4), [1, 60, 4]), ((60, 5), [60, 5])]
)
def test_other_window_length_or_column_count_is_refused(shape: tuple[int, ...], was: list[int]) -> None:
    with pytest.raises(BadShape) as refused:
        body.decode(np.ones(shape).tolist(), body.JSON, SHAPE)

    assert str(refused.value) == f"expected rows of shape [n, 60, 5], got {was}"


def test_bytes_of_another_window_length_are_refused() -> None:
    with pytest.raises(BadShape) as refused:
        body.decode(body.encode_rows(np.ones((1, 59, 5), np.float32)), body.BINARY, SHAPE)

    assert str(refused.value) == "expected float32 rows of shape [n, 60, 5], 1200 bytes each, got 1180 bytes"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_no_number_is_refused_with_its_place(rows: np.ndarray, value: float) -> None:
    rows[2, 31, VOLUME] = value

    with pytest.raises(NotFinite) as refused:
        body.decode(body.encode_rows(rows), body.BINARY, SHAPE)

    assert str(refused.value) == f"expected finite float32 values, got {value} at [2, 31, 4]"


ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(0, width=32, allow_infinity=False)


@given(hnp.arrays(np.float32, (2, 3, 5), elements=ANY | POSITIVE))
def test_any_other_finite_rows_are_refused_or_comparable(rows: np.ndarray) -> None:
    rows[..., :VOLUME] = np.sort(rows[..., :VOLUME], axis=2)[..., [1, 3, 0, 2]]  # or hardly any would pass
    with warnings.catch_warnings(), suppress(RequestError):
        warnings.simplefilter("error")
        check_windows(body.RowRequest(rows))

        assert not relative(torch.from_numpy(rows)).isnan().any()
