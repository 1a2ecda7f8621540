"""Bodies: what goes in comes out, and what is wrong is named."""

import json
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.body import decode_binary, encode_binary, encode_json
from nautilus_torchserve.wire.errors import (
    BadShape,
    BadType,
    EmptyBody,
    MalformedBody,
    NotFinite,
    RequestError,
    UnsupportedContentType,
)

SHAPES = st.sampled_from([(4,), (3, 5)])
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def rows_of(draw: st.DrawFn) -> np.ndarray:
    """float32 rows of one of the schemas' shapes."""
    shape = (draw(st.integers(1, 6)), *draw(SHAPES))
    return draw(hnp.arrays(np.float32, shape, elements=FINITE))


@given(rows_of())
def test_binary_rows_round_trip(rows: np.ndarray) -> None:
    request = body.decode(body.encode_rows(rows), body.BINARY, rows.shape[1:])

    assert request.rows.tobytes() == rows.tobytes()


@given(rows_of(), st.sampled_from(["list", "instances"]), st.booleans())
def test_json_rows_round_trip(rows: np.ndarray, form: str, parsed: bool) -> None:
    content = rows.tolist() if form == "list" else {"instances": rows.tolist()}
    sent = content if parsed else json.dumps(content).encode()

    request = body.decode(sent, "application/json; charset=utf-8", rows.shape[1:])

    np.testing.assert_array_equal(request.rows, rows)
    assert request.rows.dtype == np.float32


@given(rows_of(), st.booleans())
def test_open_inference_rows_round_trip(rows: np.ndarray, flat: bool) -> None:
    data = rows.ravel().tolist() if flat else rows.tolist()
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": data}

    request = body.decode({"inputs": [tensor], "id": "7"}, body.JSON, rows.shape[1:])

    np.testing.assert_array_equal(request.rows, rows)
    assert request.open_inference
    assert request.request_id == "7"


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(3)), elements=FINITE))
def test_responses_round_trip_to_the_last_bit(table: np.ndarray) -> None:
    names = ("buy", "sell", "hold")
    request = body.RowRequest(table)

    assert decode_binary(encode_binary(table), 3).tobytes() == table.tobytes()
    answer = orjson.loads(encode_json("tick", "1.0", dict(zip(names, table.T, strict=True)), request))
    columns = [np.array(answer["outputs"][name], dtype=np.float32) for name in names]
    np.testing.assert_array_equal(np.stack(columns, axis=1), table)
    assert (answer["model"], answer["version"]) == ("tick", "1.0")


def test_open_inference_is_answered_in_kind() -> None:
    request = body.RowRequest(np.zeros((2, 4), np.float32), open_inference=True, request_id="a")

    answer = orjson.loads(encode_json("tick", "1.0", {"up": np.ones(2, np.float32)}, request))

    assert answer == {
        "model_name": "tick",
        "model_version": "1.0",
        "id": "a",
        "outputs": [{"name": "up", "shape": [2], "datatype": "FP32", "data": [1.0, 1.0]}],
    }


TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
DEEP: list[object] = []
for _ in range(2000):
    DEEP = [DEEP]
REFUSED: list[tuple[str, object, str | None, type[RequestError], str]] = [
    ("empty bytes", b"", body.BINARY, EmptyBody, "empty body"),
    ("nothing at all", None, None, EmptyBody, r"\[n, 4\]"),
    ("no rows", [], body.JSON, EmptyBody, "empty list"),
    ("seven bytes", b"1234567", body.BINARY, BadShape, "7 bytes"),
    ("broken JSON", b"[[1,2", body.JSON, MalformedBody, "expected JSON, got"),
    ("invalid UTF-8", b'"\xff"', body.JSON, MalformedBody, "expected JSON, got"),
    ("a number", 3, body.JSON, MalformedBody, "got int"),
    ("other keys", {"rows": [[1]]}, body.JSON, MalformedBody, "rows"),
    ("instances no list", {"instances": 3}, body.JSON, MalformedBody, "got int"),
    ("three columns", [[1, 2, 3]], body.JSON, BadShape, r"\[n, 4\], got \[1, 3\]"),
    ("one bare row", [1, 2, 3, 4], body.JSON, BadShape, r"got \[4\]"),
    ("ragged", [[1, 2, 3, 4], [1]], body.JSON, BadShape, "ragged"),
    ("a string", [[1, 2, 3, "4"]], body.JSON, BadType, "str '4'"),
    ("a boolean", [[True, False, True, True]], body.JSON, BadType, "bool"),
    ("null", [[1, None, 3, 4]], body.JSON, BadType, "None"),
    ("NaN", [[1, float("nan"), 3, 4]], body.JSON, NotFinite, r"nan at \[0, 1\]"),
    ("NaN bytes", np.full((1, 4), np.nan, "<f4").tobytes(), body.BINARY, NotFinite, "nan"),
    ("NaN in JSON bytes", b"[[1, NaN, 3, 4]]", body.JSON, NotFinite, r"nan at \[0, 1\]"),
    ("beyond float64", b"[[1, 1e999, 3, 4]]", body.JSON, NotFinite, "inf"),
    ("beyond float32", [[1, 1e300, 3, 4]], body.JSON, NotFinite, "inf"),
    ("beyond int64", [[1, 10**400, 3, 4]], body.JSON, NotFinite, "range"),
    ("CSV", b"1,2,3,4", "text/csv", UnsupportedContentType, "text/csv"),
    ("a form", None, "application/x-www-form-urlencoded", UnsupportedContentType, "form"),
    ("two tensors", {"inputs": [TENSOR, TENSOR]}, body.JSON, MalformedBody, "one tensor"),
    ("no shape", {"inputs": [{"name": "x"}]}, body.JSON, MalformedBody, "shape"),
    ("text tensor", {"inputs": [{**TENSOR, "datatype": "BYTES"}]}, body.JSON, BadType, "BYTES"),
    ("lying shape", {"inputs": [{**TENSOR, "shape": [2, 4]}]}, body.JSON, BadShape, "8 values"),
    ("other shape", {"inputs": [{**TENSOR, "shape": [1, 2, 2]}]}, body.JSON, BadShape, r"\[1, 2, 2\]"),
    ("shape of words", {"inputs": [{**TENSOR, "shape": ["a"]}]}, body.JSON, MalformedBody, "sizes"),
    ("datatype a list", {"inputs": [{**TENSOR, "datatype": []}]}, body.JSON, MalformedBody, "datatype"),
    ("name an object", {"inputs": [{**TENSOR, "name": {}}]}, body.JSON, MalformedBody, "name"),
    ("shape deep", {"inputs": [{**TENSOR, "shape": DEEP}]}, body.JSON, MalformedBody, "sizes"),
    ("beyond any depth", b"[" * 100_000, body.JSON, MalformedBody, "expected JSON, got"),
    ("deep object", [[1, 2, 3, {"a": DEEP}]], body.JSON, BadType, "dict"),
    ("number as id", {"inputs": [TENSOR], "id": 3}, body.JSON, MalformedBody, "id"),
]


@pytest.mark.parametrize(
    ("sent", "content_type", "error", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_an_invalid_body_is_refused_with_its_error(
    sent: object, content_type: str | None, error: type[RequestError], message: str
) -> None:
    with pytest.raises(error, match=message):
        body.decode(sent, content_type, (4,))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["instances", "inputs", "shape", "data", "datatype", "name"])


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)))
def test_any_json_is_rows_or_a_request_error(content: object) -> None:
    with suppress(RequestError):  # nothing else may come out
        rows = body.decode(content, body.JSON, (4,)).rows
        assert rows.shape[1:] == (4,)
        assert np.isfinite(rows).all()
