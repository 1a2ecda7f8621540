"""Windows with news as bodies: what goes in comes out, and what is wrong is named."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.errors import (
    BadShape,
    BadText,
    BadType,
    BodyTooLarge,
    EmptyBody,
    MalformedBody,
    NotFinite,
    RequestError,
    UnsupportedContentType,
)
from nautilus_torchserve.wire.news_windows import (
    MAX_TEXTS,
    NewsRequest,
    NewsWindow,
    check_news,
    decode_news,
    encode_news,
)

SHAPE = (3, 2)
thrifty = settings(deadline=None, max_examples=60)
WINDOWS = hnp.arrays(np.float32, SHAPE, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10).map(lambda text: f"{text}a")
AGES = st.floats(0, 1e300) | st.integers(0, 10**12)


@st.composite
def news_windows(draw: st.DrawFn) -> NewsWindow:
    """Some texts, none for many; ages given or not."""
    texts = tuple(draw(st.lists(TEXTS, max_size=4)))
    ages = draw(st.lists(AGES, min_size=len(texts), max_size=len(texts))) if draw(st.booleans()) else []
    return NewsWindow(draw(WINDOWS), texts, tuple(ages))


def expected(windows: list[NewsWindow]) -> tuple[bytes, tuple[str, ...], list[float], list[int]]:
    return (
        b"".join(window.window.tobytes() for window in windows),
        tuple(text for window in windows for text in window.texts),
        [float(age) for window in windows for age in window.ages_s or [0] * len(window.texts)],
        [len(window.texts) for window in windows],
    )


def found(request: NewsRequest) -> tuple[bytes, tuple[str, ...], list[float], list[int]]:
    assert (request.rows.dtype, request.ages_s.dtype, request.counts.dtype) == (np.float32, np.float64, np.int64)
    return request.rows.tobytes(), request.texts, request.ages_s.tolist(), request.counts.tolist()


NEWS = st.lists(news_windows(), min_size=1, max_size=5)


@thrifty
@given(NEWS)
def test_what_the_client_sends_comes_out(windows: list[NewsWindow]) -> None:
    request = decode_news(encode_news(windows), body.JSON, SHAPE)

    assert found(request) == found(check_news(windows, SHAPE)) == expected(windows)
    assert len(request) == len(windows)
    assert not request.open_inference
    assert request.windows.rows is request.rows


@thrifty
@given(NEWS, st.booleans())
def test_a_bare_list_is_decoded_to_the_same_windows(windows: list[NewsWindow], parsed: bool) -> None:
    instances = orjson.loads(encode_news(windows))["instances"]

    request = decode_news(instances if parsed else orjson.dumps(instances), "application/json;charset=utf-8", SHAPE)

    assert found(request) == expected(windows)


@thrifty
@given(NEWS, st.booleans())
def test_open_inference_tensors_round_trip(windows: list[NewsWindow], flat: bool) -> None:
    rows, texts, ages, counts = expected(windows)
    values = np.frombuffer(rows, np.float32).reshape(-1, *SHAPE)
    tensors = [
        tensor("text_counts", [len(counts)], "INT64", counts),
        tensor("window", list(values.shape), "FP32", (values.ravel() if flat else values).tolist()),
        tensor("texts", [len(texts)], "BYTES", list(texts)),
        tensor("ages_s", [len(ages)], "FP64", ages),
    ]

    request = decode_news(orjson.dumps({"inputs": tensors, "id": "x"}), body.JSON, SHAPE)

    assert found(request) == expected(windows)
    assert (request.open_inference, request.request_id) == (True, "x")


def tensor(name: str, shape: list[int], datatype: str, data: object) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
WINDOW = tensor("window", [2, *SHAPE], "FP32", [ROWS, ROWS])


def test_a_tensor_of_windows_alone_has_no_news() -> None:
    request = decode_news({"inputs": [WINDOW]}, body.JSON, SHAPE)

    assert (request.texts, request.ages_s.tolist(), request.counts.tolist()) == ((), [], [0, 0])


def with_texts(counts: object = None, ages: object = None, **changed: object) -> dict[str, Any]:
    texts = {**tensor("texts", [2], "BYTES", ["a", "b"]), **changed}
    tensors = [WINDOW, texts, tensor("text_counts", [2], "INT64", counts or [1, 1])]
    return {"inputs": tensors if ages is None else [*tensors, tensor("ages_s", [2], "FP64", ages)]}


def one(**changed: object) -> list[dict[str, object]]:
    return [{"window": ROWS}, {"window": ROWS, "texts": ["a", "b"], "ages_s": [0, 1.5], **changed}]


REFUSED: dict[str, tuple[object, str | None, type[RequestError], str]] = {
    "nothing at all": (None, None, EmptyBody, "expected windows and texts"),
    "empty list": ([], body.JSON, EmptyBody, "expected at least one window"),
    "instances no list": ({"instances": {}}, body.JSON, MalformedBody, "a list of windows .* got dict"),
    "a number": (b"3", body.JSON, MalformedBody, "got int"),
    "other keys": ({"rows": []}, body.JSON, MalformedBody, r"an object with \['rows'\]"),
    "broken JSON": (b'[{"window": ', body.JSON, MalformedBody, "expected JSON, got"),
    "binary": (b"1234", body.BINARY, UnsupportedContentType, "octet-stream"),
    "bare rows": ([ROWS], body.JSON, MalformedBody, 'instance 0: expected an object with "window"'),
    "no window": ([{"window": ROWS}, {"texts": []}], body.JSON, MalformedBody, 'instance 1: .* "window"'),
    "unknown key": (one(ages=[1]), body.JSON, MalformedBody, r"instance 1: .* got also \['ages'\]"),
    "short window": (one(window=ROWS[:2]), body.JSON, BadShape, r"instance 1: .* \[n, 3, 2\], got \[1, 2, 2\]"),
    "two windows in one": (one(window=[ROWS, ROWS]), body.JSON, BadShape, r"got \[1, 2, 3, 2\]"),
    "window a number": (one(window=3), body.JSON, BadShape, r"got \[1\]"),
    "ragged window": (one(window=[[1, 2], [3]]), body.JSON, BadShape, "ragged"),
    "window of words": (one(window=[["a", "b"]] * 3), body.JSON, BadType, "instance 1: expected numbers, got str 'a'"),
    "window null": (one(window=None), body.JSON, BadType, "NoneType"),
    "NaN": (b'[{"window": [[1, NaN], [3, 4], [5, 6]]}]', body.JSON, NotFinite, r"instance 0: .* nan at \[0, 0, 1\]"),
    "beyond float32": (one(window=[[1e300, 2], [3, 4], [5, 6]]), body.JSON, NotFinite, "inf"),
    "texts a string": (one(texts="ab"), body.JSON, BadType, "instance 1: expected a list of strings, got str"),
    "texts null": (one(texts=None), body.JSON, BadType, "got NoneType"),
    "text a number": (one(texts=["a", 3]), body.JSON, BadType, "instance 1: expected strings, got int '3' as text 1"),
    "empty text": (one(texts=["a", " "]), body.JSON, BadText, "instance 1: expected something .* got ' ' as text 1"),
    "no width": (one(texts=["a", "\u200b"]), body.JSON, BadText, "something to read"),
    "lone surrogate": (one(texts=["a", "\ud83d"]), body.JSON, BadText, "lone surrogate in text 1"),
    "too many texts": (
        [{"window": ROWS, "texts": ["a"] * 1000}] * 2,
        body.JSON,
        BodyTooLarge,
        "at most 1,024 texts .* got 2,000",
    ),
    "too many characters": (
        [{"window": ROWS, "texts": ["a" * 200_000]}] * 2,
        body.JSON,
        BodyTooLarge,
        "at most 250,000 .* got 400,000",
    ),
    "too few ages": (
        one(ages_s=[1]),
        body.JSON,
        BadShape,
        r'instance 1: expected "ages_s" with one .* 2 in all, got \[1\]',
    ),
    "ages without texts": ([{"window": ROWS, "ages_s": [1]}], body.JSON, BadShape, '"ages_s" with one .* 0 in all'),
    "one age for all": (one(ages_s=3), body.JSON, BadShape, "2 in all, got 3"),
    "age a string": (one(ages_s=[1, "2"]), body.JSON, BadType, 'expected "ages_s" of numbers, got str'),
    "age a boolean": (one(ages_s=[1, True]), body.JSON, BadType, "got bool"),
    "age null": (one(ages_s=[1, None]), body.JSON, BadType, "got NoneType"),
    "from the future": (one(ages_s=[1, -0.5]), body.JSON, NotFinite, "at least 0, and finite, got -0.5"),
    "age NaN": (one(ages_s=[1, float("nan")]), body.JSON, NotFinite, "got nan"),
    "age infinite": (one(ages_s=[1, float("inf")]), body.JSON, NotFinite, "got inf"),
    "age beyond any float": (one(ages_s=[1, 10**400]), body.JSON, NotFinite, "got 1000"),
    "no window tensor": ({"inputs": with_texts()["inputs"][1:]}, body.JSON, MalformedBody, "'text_counts', 'texts'"),
    "texts without counts": ({"inputs": with_texts()["inputs"][:2]}, body.JSON, MalformedBody, "'texts', 'window'"),
    "unknown tensor": ({"inputs": [WINDOW, tensor("x", [1], "FP32", [1])]}, body.JSON, MalformedBody, r"'x'\]"),
    "tensor twice": ({"inputs": [WINDOW, WINDOW]}, body.JSON, MalformedBody, r"got \['window', 'window'\]"),
    "name a list": ({"inputs": [{**WINDOW, "name": []}]}, body.JSON, MalformedBody, '"name" as a string'),
    "datatype an object": ({"inputs": [{**WINDOW, "datatype": {}}]}, body.JSON, MalformedBody, "as a string"),
    "window tensor of words": ({"inputs": [{**WINDOW, "datatype": "BYTES"}]}, body.JSON, BadType, "got BYTES"),
    "window tensor of another shape": ({"inputs": [{**WINDOW, "shape": [4, 3]}]}, body.JSON, BadShape, r"got \[4, 3\]"),
    "no rows in it": ({"inputs": [tensor("window", [0, *SHAPE], "FP32", [])]}, body.JSON, EmptyBody, "one row"),
    "texts tensor of numbers": (with_texts(datatype="FP32"), body.JSON, BadType, "expected datatype BYTES"),
    "texts tensor empty by a zero": (with_texts(data=0), body.JSON, BadType, "expected a list of strings, got int"),
    "texts tensor lies": (with_texts(shape=[3]), body.JSON, BadShape, r"expected shape \[2\] for 2 texts, got \[3\]"),
    "counts too few": (with_texts([2]), body.JSON, BadShape, "2 values for shape"),
    "counts of another sum": (with_texts([2, 1]), body.JSON, BadShape, r"2 that add up to 2, got \[2, 1\]"),
    "negative count": (with_texts([3, -1]), body.JSON, BadShape, r"got \[3, -1\]"),
    "half a text": (with_texts([0.5, 1.5]), body.JSON, BadShape, r"got \[0.5, 1.5\]"),
    "counts that come round": (with_texts([2**63 - 1, 2**63 - 1]), body.JSON, BadShape, "got .922"),
    "count of all in a scalar": (
        {"inputs": [*with_texts()["inputs"][:2], tensor("text_counts", [], "INT64", 2)]},
        body.JSON,
        BadShape,
        "got 2",
    ),
    "ages tensor too short": (with_texts(ages=[1]), body.JSON, BadShape, "2 values for shape"),
    "ages tensor negative": (with_texts(ages=[1, -1]), body.JSON, NotFinite, "got -1"),
    "ages tensor of words": (with_texts(ages=["1", "2"]), body.JSON, BadType, "got str '1'"),
}


@pytest.mark.parametrize(("sent", "content_type", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_news_is_refused_with_its_error(
    sent: object, content_type: str | None, error: type[RequestError], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        decode_news(sent, content_type, SHAPE)

    assert type(refused.value) is error
    assert json.loads(refused.value.body())["error"] == error.__name__


def test_as_many_texts_as_are_allowed_are_read() -> None:
    half = {"window": ROWS, "texts": ["a"] * (MAX_TEXTS // 2)}

    assert decode_news([half, half], body.JSON, SHAPE).counts.tolist() == [MAX_TEXTS // 2] * 2


@pytest.mark.parametrize(
    ("window", "error"),
    [
        (NewsWindow(np.zeros((2, 2), np.float32)), BadShape),
        (NewsWindow(np.full(SHAPE, np.inf, np.float32)), NotFinite),
        (NewsWindow(np.full(SHAPE, 1e300)), NotFinite),
        (NewsWindow(np.zeros(SHAPE, np.float32), ("",)), BadText),
        (NewsWindow(np.zeros(SHAPE, np.float32), ("a",), (1.0, 2.0)), BadShape),
        (NewsWindow(np.zeros(SHAPE, np.float32), (), (1.0,)), BadShape),
        (NewsWindow(np.zeros(SHAPE, np.float32), ("a",), (-1.0,)), NotFinite),
    ],
)
def test_objects_are_refused_like_bodies(window: NewsWindow, error: type[RequestError]) -> None:
    with pytest.raises(error):
        check_news([window], SHAPE)


def test_ages_out_of_an_array_are_numbers_too() -> None:
    window = NewsWindow(np.zeros(SHAPE, np.float32), ("a", "b"), tuple(np.array([0.5, 2.0])))

    assert check_news([window], SHAPE).ages_s.tolist() == [0.5, 2.0]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["window", "texts", "ages_s", "text_counts", "shape", "data", "datatype", "name"])
ANY = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
NAMES = st.sampled_from(["window", "texts", "ages_s", "text_counts"]) | ANY
TENSORS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "shape": st.lists(st.integers(0, 3), max_size=3) | st.just([1, *SHAPE]) | ANY,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | ANY,
        "data": st.just(ROWS) | st.lists(st.integers(0, 2), max_size=2) | st.lists(TEXTS, max_size=2) | ANY,
    }
)
INSTANCES = st.fixed_dictionaries({"window": st.just(ROWS) | ANY}, optional={"texts": ANY, "ages_s": ANY})


@thrifty
@given(ANY | st.lists(INSTANCES) | st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=4)}))
def test_any_json_is_news_or_a_request_error(content: object) -> None:
    with suppress(RequestError):  # nothing else may come out
        request = decode_news(content, body.JSON, SHAPE)
        assert request.counts.sum() == len(request.texts) == len(request.ages_s)
        assert len(request.counts) == len(request.rows)
        assert np.isfinite(request.rows).all()
        assert (np.isfinite(request.ages_s) & (request.ages_s >= 0)).all()
