"""Texts as bodies: what goes in comes out, and what cannot be read is named; answers of other things than float32."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.body import encode_json
from nautilus_torchserve.wire.errors import (
    BadShape,
    BadText,
    BadType,
    BodyTooLarge,
    EmptyBody,
    MalformedBody,
    RequestError,
    UnsupportedContentType,
)
from nautilus_torchserve.wire.news_windows import (
    MAX_CHARACTERS,
    MAX_TEXTS,
    TextRequest,
    check_texts,
    decode_texts,
    encode_texts,
)

thrifty = settings(deadline=None, max_examples=60)
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(lambda text: f"{text}a{text}"),
    min_size=1,
    max_size=6,
)


@thrifty
@given(TEXTS)
def test_what_the_client_sends_comes_out(texts: list[str]) -> None:
    assert decode_texts(encode_texts(texts), body.JSON) == TextRequest(tuple(texts))


@thrifty
@given(TEXTS, st.sampled_from(["list", "instances"]), st.booleans(), st.booleans())
def test_json_texts_round_trip(texts: list[str], form: str, parsed: bool, escaped: bool) -> None:
    content: object = texts if form == "list" else {"instances": texts}
    sent = content if parsed else json.dumps(content, ensure_ascii=escaped).encode()

    assert decode_texts(sent, "application/json; charset=utf-8").texts == tuple(texts)


@thrifty
@given(TEXTS, st.booleans())
def test_open_inference_texts_round_trip(texts: list[str], column: bool) -> None:
    shape, data = ([len(texts), 1], [[text] for text in texts]) if column else ([len(texts)], texts)
    tensor = {"name": "texts", "shape": shape, "datatype": "BYTES", "data": data}

    request = decode_texts(orjson.dumps({"inputs": [tensor], "id": "7"}), body.JSON)

    assert request == TextRequest(tuple(texts), open_inference=True, request_id="7")
    assert len(request) == len(texts)


TENSOR: dict[str, Any] = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["Profit rose"]}
REFUSED: dict[str, tuple[object, str | None, type[RequestError], str]] = {
    "nothing at all": (None, None, EmptyBody, "expected texts, got an empty body"),
    "empty bytes": (b"", body.JSON, EmptyBody, "empty body"),
    "empty list": ([], body.JSON, EmptyBody, "expected at least one text, got none"),
    "empty instances": ({"instances": []}, body.JSON, EmptyBody, "at least one text"),
    "empty tensor": ({"inputs": [{**TENSOR, "shape": [0], "data": []}]}, body.JSON, EmptyBody, "at least one text"),
    "empty text": (["Profit rose", ""], body.JSON, BadText, "expected something to read, got '' as text 1"),
    "blank": ([" \t\r\n\u00a0\u3000"], body.JSON, BadText, "something to read"),
    "no width": (["\u200b\u200d\ufeff\u2060"], body.JSON, BadText, "something to read"),
    "control characters": (["\x00\x07\x1b"], body.JSON, BadText, "something to read"),
    "a number": (["Profit rose", 3], body.JSON, BadType, "expected strings, got int '3' as text 1"),
    "null": ([None], body.JSON, BadType, "got NoneType 'None' as text 0"),
    "a boolean": ([True], body.JSON, BadType, "got bool 'True' as text 0"),
    "an object": ([{"text": "Profit rose"}], body.JSON, BadType, "got dict"),
    "lists in the list": ([["Profit rose"]], body.JSON, BadType, "got list"),
    "instances a string": ({"instances": "Profit rose"}, body.JSON, BadType, "expected a list of strings, got str"),
    "lone surrogate": (["Profit rose", "\ud83d up"], body.JSON, BadText, "lone surrogate in text 1"),
    "lone surrogate escaped": (b'["\\ud83d up"]', body.JSON, BadText, "lone surrogate in text 0"),
    "invalid UTF-8": (b'["Profit \xff rose"]', body.JSON, MalformedBody, "expected JSON, got .*UTF-8"),
    "Latin-1": ('["Glück"]'.encode("latin-1"), body.JSON, MalformedBody, "expected JSON, got"),
    "broken JSON": (b'["Profit', body.JSON, MalformedBody, "expected JSON, got"),
    "plain text in JSON's name": (b"Profit rose", body.JSON, MalformedBody, "expected JSON, got"),
    "beyond any depth": (b"[" * 100_000, body.JSON, MalformedBody, "expected JSON, got"),
    "deep": (b"[" * 1000 + b"]" * 1000, body.JSON, BadType, "got list"),
    "a bare string": (b'"Profit rose"', body.JSON, MalformedBody, "expected a list of strings, .*, got str"),
    "other keys": ({"texts": ["Profit rose"]}, body.JSON, MalformedBody, r"got an object with \['texts'\]"),
    "too many texts": (["a"] * (MAX_TEXTS + 1), body.JSON, BodyTooLarge, "at most 1,024 texts .* got 1,025"),
    "too many characters": (["a" * MAX_CHARACTERS, "b"], body.JSON, BodyTooLarge, "at most 250,000 .* got 250,001"),
    "plain text": (
        b"Profit rose",
        "text/plain",
        UnsupportedContentType,
        "expected content type application/json, got text/plain",
    ),
    "binary": (b"Profit rose", body.BINARY, UnsupportedContentType, "octet-stream"),
    "no content type": (b"Profit rose", None, UnsupportedContentType, "got none"),
    "tensor of numbers": (
        {"inputs": [{**TENSOR, "datatype": "FP32"}]},
        body.JSON,
        BadType,
        "expected datatype BYTES .* FP32",
    ),
    "lying shape": ({"inputs": [{**TENSOR, "shape": [2]}]}, body.JSON, BadShape, r"shape \[1\] for 1 texts, got \[2\]"),
    "shape of a matrix": ({"inputs": [{**TENSOR, "shape": [1, 2]}]}, body.JSON, BadShape, r"got \[1, 2\]"),
    "two tensors": ({"inputs": [TENSOR, TENSOR]}, body.JSON, MalformedBody, "expected .* one tensor, got 2"),
    "no tensor": ({"inputs": []}, body.JSON, MalformedBody, "list of tensors"),
    "tensor without data": ({"inputs": [{"name": "x"}]}, body.JSON, MalformedBody, "without"),
    "tensor of a number": ({"inputs": [{**TENSOR, "data": [3]}]}, body.JSON, BadType, "got int '3'"),
    "data no list": ({"inputs": [{**TENSOR, "data": "a"}]}, body.JSON, BadType, "got str"),
    "datatype a list": ({"inputs": [{**TENSOR, "datatype": []}]}, body.JSON, MalformedBody, '"datatype" as a string'),
    "name an object": ({"inputs": [{**TENSOR, "name": {}}]}, body.JSON, MalformedBody, '"name" as a string'),
    "number as id": ({"inputs": [TENSOR], "id": 3}, body.JSON, MalformedBody, '"id" as a string'),
}


@pytest.mark.parametrize(("sent", "content_type", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_texts_are_refused_with_their_error(
    sent: object, content_type: str | None, error: type[RequestError], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        decode_texts(sent, content_type)

    assert type(refused.value) is error
    assert json.loads(refused.value.body())["error"] == error.__name__


def test_as_much_as_is_allowed_is_read() -> None:
    assert len(decode_texts(encode_texts(["a"] * MAX_TEXTS), body.JSON)) == MAX_TEXTS
    assert decode_texts(encode_texts(["a" * MAX_CHARACTERS]), body.JSON).texts == ("a" * MAX_CHARACTERS,)


def test_a_caller_sets_the_minimum_number_of_texts() -> None:
    assert check_texts([], at_least=0) == ()
    with pytest.raises(EmptyBody):
        check_texts([])


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["instances", "inputs", "shape", "data", "datatype", "name", "id"])
JSON_VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
TENSORS = st.fixed_dictionaries(
    {
        "name": JSON_VALUES,
        "shape": JSON_VALUES | st.just([1]),
        "datatype": JSON_VALUES | st.just("BYTES"),
        "data": JSON_VALUES,
    }
)


@thrifty
@given(JSON_VALUES | st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=2)}))
def test_any_json_is_texts_or_a_request_error(content: object) -> None:
    with suppress(RequestError):  # nothing else may come out
        for text in decode_texts(content, body.JSON).texts:
            assert text.encode().decode() == text
            assert text.strip()


@thrifty
@given(st.binary(max_size=60).map(lambda sent: b'["' + sent + b'"]'))
def test_any_bytes_are_texts_or_a_request_error(sent: bytes) -> None:
    with suppress(RequestError):
        assert decode_texts(sent, body.JSON).texts


COLUMNS: dict[str, np.ndarray] = {
    "label": np.array(["negative", "größer \u4e2d"]),
    "probabilities": np.array([[0.1, 0.2, 0.7], [1 / 3, 1e-20, 0.5]], np.float32),
    "chunks": np.array([1, 16]),
    "truncated": np.array([False, True]),
}


def test_words_tables_counts_and_truths_are_plain_json() -> None:
    answer = orjson.loads(encode_json("sentiment", "1.0", COLUMNS, TextRequest(("a", "b"))))

    assert answer["outputs"] == {
        "label": ["negative", "größer \u4e2d"],
        "probabilities": [[0.1, 0.2, 0.7], [0.33333334, 1e-20, 0.5]],
        "chunks": [1, 16],
        "truncated": [False, True],
    }


def test_words_tables_counts_and_truths_are_tensors_in_the_open_inference_protocol() -> None:
    request = TextRequest(("a", "b"), open_inference=True)

    answer = orjson.loads(encode_json("sentiment", "1.0", COLUMNS, request))

    assert answer["outputs"] == [
        {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["negative", "größer \u4e2d"]},
        {"name": "probabilities", "shape": [2, 3], "datatype": "FP32", "data": [0.1, 0.2, 0.7, 0.33333334, 1e-20, 0.5]},
        {"name": "chunks", "shape": [2], "datatype": "INT64", "data": [1, 16]},
        {"name": "truncated", "shape": [2], "datatype": "BOOL", "data": [False, True]},
    ]
    assert "id" not in answer


@pytest.mark.parametrize("open_inference", [False, True])
def test_columns_of_a_table_in_any_memory_order_keep_their_values(open_inference: bool) -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    columns = {"across": table.T[1], "backwards": table[:, ::-2]}

    answer = orjson.loads(encode_json("m", "1", columns, TextRequest(("a",) * 3, open_inference)))["outputs"]

    across, backwards = (tensor["data"] for tensor in answer) if open_inference else answer.values()
    assert across == [1, 5, 9]
    assert np.ravel(backwards).tolist() == [3, 1, 7, 5, 11, 9]
