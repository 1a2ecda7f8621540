"""What a model declares of its outputs: no garbage passes, and no genuine softmax is refused."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nautilus_torchserve.wire.errors import OutputNotFinite, OutputOutOfRange, RequestError
from nautilus_torchserve.wire.output_constraints import (
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    RETURN_BPS,
    OutputConstraints,
    OutputRange,
    sum_tolerance,
)

CLASSES = ("buy", "sell", "hold")
TICK = OutputConstraints(dict.fromkeys(CLASSES, PROBABILITY), (CLASSES,))


def refused(constraints: OutputConstraints, rows: list[list[float]], names: tuple[str, ...] = CLASSES) -> str:
    """``Kind: words`` of the refusal; empty where it passes."""
    try:
        constraints.check_table(np.array(rows, np.float32), names)
    except RequestError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.25, 0.25, 0.5], ""),
        ([0.0, 0.0, 1.0], ""),
        ([1.0, 1.0, 1.0], "OutputOutOfRange: expected a sum of 1 of buy, sell, hold, got 3"),
        ([0.0, 0.0, 0.0], "OutputOutOfRange: expected a sum of 1 of buy, sell, hold, got 0"),
        ([1.5, -0.25, -0.25], "OutputOutOfRange: expected buy in [0, 1], got 1.5"),
        ([0.3, 0.3, 0.3], "OutputOutOfRange: expected a sum of 1 of buy, sell, hold, got 0.9"),
        ([math.nan, 0.5, 0.5], "OutputNotFinite: expected finite outputs, got nan as buy"),
        ([0.5, math.inf, 0.5], "OutputNotFinite: expected finite outputs, got inf as sell"),
    ],
)
def test_what_a_classifier_cannot_answer_is_refused(row: list[float], message: str) -> None:
    assert refused(TICK, [row]).startswith(message)
    assert bool(refused(TICK, [row])) == bool(message)
    among = refused(TICK, [[0.25, 0.25, 0.5], row, [0.0, 1.0, 0.0]])
    kind, _, words = message.partition(": ")
    assert among.startswith(f"{kind}: row 1: {words}" if message else "")
    assert bool(among) == bool(message)


@given(
    st.integers(1, 300).flatmap(lambda count: arrays(np.float32, (2, count), elements=st.floats(-1e4, 1e4, width=32)))
)
def test_no_genuine_softmax_is_refused(logits: np.ndarray) -> None:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    naive = np.add.accumulate(exponentials, axis=1, dtype=np.float32)[:, -1:]  # rounded at each step
    names = tuple(map(str, range(logits.shape[1])))
    constraints = OutputConstraints(dict.fromkeys(names, PROBABILITY), (names,))

    assert refused(constraints, (exponentials / naive).tolist(), names) == ""
    assert refused(constraints, [(exponentials / naive)[0].tolist()], names) == ""


@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=2, max_size=4))
def test_many_rows_are_judged_as_each_alone(rows: list[list[float]]) -> None:
    alone = [refused(TICK, [row]) for row in rows]

    assert bool(refused(TICK, rows)) == any(alone)
    for row, message in zip(rows, alone, strict=True):
        is_right = all(-1e-6 <= value <= 1 + 1e-6 for value in row) and abs(math.fsum(row) - 1) < sum_tolerance(3)
        assert is_right == (not message)


@pytest.mark.parametrize(
    "value", ["0.5", "\x1b[31m" * 999, None, b"0.5", math.nan, [0.5], 10**400, 1j, Decimal("sNaN"), -math.inf, object()]
)
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(OutputNotFinite, match=r"expected finite outputs, got .* as buy"):
        TICK.check_row({"buy": value, "sell": 0.25, "hold": 0.25})


@pytest.mark.parametrize("outputs", [None, 1.0, [0.5], "buy", (0.2, 0.3, 0.5)])
def test_outputs_without_names_are_refused(outputs: Any) -> None:
    with pytest.raises(OutputOutOfRange, match="expected outputs by their names"):
        TICK.check_row(outputs)


@pytest.mark.parametrize("outputs", [{}, {"buy": 1.0}, {"Buy": 0.5, "sell": 0.25, "hold": 0.25}])
def test_a_missing_output_is_named(outputs: dict[str, float]) -> None:
    with pytest.raises(OutputOutOfRange, match=r"expected an output (buy|sell|hold), got"):
        TICK.check_row(outputs)


@pytest.mark.parametrize(
    ("allowed", "passes", "fails"),
    [
        (POSITIVE, [1e-45, 1.0, 3e38], [0.0, -1e-45]),
        (NON_NEGATIVE, [0.0, 1.0], [-0.1]),
        (RETURN_BPS, [-1e4, 1e6], [-1.1e4]),
        (OutputRange(), [-3.4e38, 3.4e38], []),
        (OutputRange(minimum=5.0, maximum=5.0), [5.0], [4.9, 5.1]),
    ],
)
def test_ranges(allowed: OutputRange, passes: list[float], fails: list[float]) -> None:
    constraints = OutputConstraints({"x": allowed})

    assert [bool(refused(constraints, [[value]], ("x",))) for value in passes + fails] == [
        *(False for _ in passes),
        *(True for _ in fails),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*CLASSES, "minimum", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ranges", "sum_to_one", "minimum", "maximum", *CLASSES]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_declaration_is_read_or_refused(data: object) -> None:
    try:
        read = OutputConstraints.from_dict(data, CLASSES)
    except ValueError:
        return
    assert OutputConstraints.from_dict(read.to_dict(), CLASSES) == read


def test_a_declaration_is_read_as_it_was_written() -> None:
    assert OutputConstraints.from_dict(TICK.to_dict(), CLASSES) == TICK
