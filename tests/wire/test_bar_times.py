"""``ts_event`` beside JSON rows: exact nanoseconds, or a refusal."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.errors import BadShape, BadType, NotFinite, RequestError

SHAPE = (3, 5)
ROWS = np.ones((2, *SHAPE), np.float32)
TIMES = [[1, 2, 3], [4, 5, 6]]
BODIES: dict[str, dict[str, Any]] = {
    "instances": {"instances": ROWS.tolist()},
    "inputs": {"inputs": [{"name": "x", "shape": [2, 3, 5], "datatype": "FP32", "data": ROWS.ravel().tolist()}]},
}


@given(
    hnp.arrays(np.int64, (2, 3), elements=st.integers(-(2**63), 2**63 - 1)),
    st.sampled_from(sorted(BODIES)),
    st.booleans(),
)
def test_times_arrive_to_the_nanosecond(times: np.ndarray, form: str, parsed: bool) -> None:
    content = {**BODIES[form], "ts_event": times.tolist()}

    request = body.decode(content if parsed else json.dumps(content).encode(), body.JSON, SHAPE)

    assert request.ts_event is not None
    assert request.ts_event.dtype == np.int64
    np.testing.assert_array_equal(request.ts_event, times)
    np.testing.assert_array_equal(request.rows, ROWS)


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize("extra", [{}, {"ts_event": None}], ids=["absent", "null"])
def test_times_may_be_left_out(form: str, extra: dict[str, Any]) -> None:
    assert body.decode({**BODIES[form], **extra}, body.JSON, SHAPE).ts_event is None


def test_bytes_and_bare_lists_carry_no_times() -> None:
    assert body.decode(body.encode_rows(ROWS), body.BINARY, SHAPE).ts_event is None
    assert body.decode(ROWS.tolist(), body.JSON, SHAPE).ts_event is None


REFUSED: dict[str, tuple[object, type[RequestError], str]] = {
    "one window's only": (TIMES[0], BadShape, 'expected "ts_event" of shape [2, 3], got [3]'),
    "a window short": (TIMES[:1], BadShape, 'expected "ts_event" of shape [2, 3], got [1, 3]'),
    "none at all": ([], BadShape, 'expected "ts_event" of shape [2, 3], got [0]'),
    "a number": (7, BadShape, 'expected "ts_event" of shape [2, 3], got []'),
    "ragged": ([[1, 2, 3], [4]], BadShape, '"ts_event": expected rows of equal length, got a ragged list'),
    "a fraction": (
        [[1, 2, 3.5], [4, 5, 6]],
        BadType,
        'expected "ts_event" in whole Unix nanoseconds of 64 bits, got 1.0 as float64',
    ),
    "NaN": (
        [[float("nan"), 2, 3], [4, 5, 6]],
        BadType,
        'expected "ts_event" in whole Unix nanoseconds of 64 bits, got nan as float64',
    ),
    "beyond int64": (
        [[2**63] * 3] * 2,
        BadType,
        'expected "ts_event" in whole Unix nanoseconds of 64 bits, got 9223372036854775808 as uint64',
    ),
    "beyond 64 bits": (
        [[2**64] * 3] * 2,
        NotFinite,
        '"ts_event": expected numbers, got an integer beyond the range of 64 bits',
    ),
    "ISO 8601": ([["2024-01-01", 2, 3], [4, 5, 6]], BadType, "\"ts_event\": expected numbers, got str '2024-01-01'"),
    "booleans": ([[True] * 3] * 2, BadType, "\"ts_event\": expected numbers, got bool 'True'"),
    "an object": ({"t": 1}, BadType, '"ts_event": expected numbers, got dict "{\'t\': 1}"'),
}


@pytest.mark.parametrize(("times", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_times_are_refused_with_their_error(times: object, error: type[RequestError], message: str) -> None:
    with pytest.raises(error) as refused:
        body.decode({**BODIES["instances"], "ts_event": times}, body.JSON, SHAPE)

    assert type(refused.value) is error
    assert str(refused.value) == message
