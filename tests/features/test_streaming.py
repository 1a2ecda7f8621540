"""Rows of a streaming class become a model's inputs: windows of the last rows, without those of the warm-up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.features.streaming import BadRow, InputWindows

COLUMNS = (Column("first", "1"), Column("second", "bps"))


def schema(time_steps: int | None) -> FeatureSchema:
    return FeatureSchema("two/1", COLUMNS, window=1, time_steps=time_steps)


@given(count=st.integers(0, 30), time_steps=st.integers(1, 8), warm_up=st.integers(0, 8))
def test_windows_are_those_of_a_sliding_window(count: int, time_steps: int, warm_up: int) -> None:
    rows = np.arange(2 * count, dtype=np.float32).reshape(-1, 2)
    windows = InputWindows(schema(time_steps), warm_up)

    inputs = [model_input for row in rows if (model_input := windows.add(row)) is not None]

    used = rows[warm_up:]
    expected = [used[at : at + time_steps] for at in range(len(used) - time_steps + 1)]
    np.testing.assert_array_equal(inputs, expected)
    assert windows.rows == count


def test_without_time_steps_each_row_is_an_input() -> None:
    windows = InputWindows(schema(None), warm_up=1)

    assert windows.add((1.0, 2.0)) is None
    np.testing.assert_array_equal(windows.add((3.0, 4.0)), np.array([3.0, 4.0], dtype=np.float32))


def test_inputs_do_not_change_with_the_array_that_they_came_from() -> None:
    windows, row = InputWindows(schema(None), warm_up=0), np.array([1.0, 2.0], dtype=np.float32)

    first = windows.add(row)
    row[:] = 0.0

    np.testing.assert_array_equal(first, np.array([1.0, 2.0], dtype=np.float32))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1.0,), r"row 0: expected 2 values \(first, second\), got an array of shape \[1\]"),
        (1.0, r"row 0: expected 2 values \(first, second\), got an array of shape \[\]"),
        (("up", 1.0), r"row 0: expected 2 numbers \(first, second\), got \('up', 1.0\)"),
        ({"first": 1.0, "second": 2.0}, "row 0: expected 2 numbers .*, got {'first': 1.0"),
        ((1.0, float("nan")), "row 0: expected finite values, got nan in second"),
        ((1e300, 0.0), "row 0: expected finite values, got inf in first"),
    ],
)
def test_row_that_the_schema_does_not_describe_is_refused(row: object, message: str) -> None:
    with pytest.raises(BadRow, match=message), np.errstate(over="ignore"):
        InputWindows(schema(3), warm_up=0).add(row)  # type: ignore[arg-type]
