"""What a body of any content takes, and what an answer can become, is bounded by its size."""

import tracemalloc
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.body import encode_binary, encode_json
from nautilus_torchserve.wire.errors import MAX_MESSAGE, BadShape, BadType, RequestError
from nautilus_torchserve.wire.news_windows import decode_news, decode_texts
from nautilus_torchserve.worker.limits import AnswerSize

SIZE = 100_000
TIMES = 40
"""Bytes that a body may take while it is read, for each of its own: ``[],`` is an object of 80 bytes in a list."""


def filled(beginning: str, piece: str, end: str) -> bytes:
    """A body of about `SIZE` bytes."""
    return (beginning + piece * (SIZE // len(piece)) + end).encode()


BOMBS = {
    "one long string among short ones": b'["' + b"a" * (SIZE // 2) + b'"' + b',"b"' * (SIZE // 8) + b"]",
    "a long string in numbers": b'[["' + b"a" * (SIZE // 2) + b'",1,1,1]' + b",[1,1,1,1]" * (SIZE // 20) + b"]",
    "a string of wide characters": b'["' + b"a" * (SIZE // 2) + "\U0001f680".encode() + b'"' + b',"b"' * 999 + b"]",
    "a string in a tensor": b'{"inputs":[{"name":"a","shape":[2,4],"datatype":"FP32","data":["'
    + b"a" * SIZE
    + b'",1,1,1,1,1,1,1]}]}',
    "strings": filled("[", '"a",', "1]"),
    "empty lists": filled("[", "[],", "1]"),
    "empty lists in rows": filled("[", "[[],[],[],[]],", "[]]"),
    "empty objects": filled("[", "{},", "1]"),
    "nulls and truth values": filled("[", "null,true,", "1]"),
    "rows of truth values": filled("[", "[1,true,0,1],", "[1,2,3,4]]"),
    "many small rows": filled("[", "[1,1,1,1],", "[1,1,1,1]]"),
    "rows of floats": filled("[", "[1.5,0.5,9.5,7.5],", "[1,1,1,1]]"),
    "a ragged end": filled("[", "[1,1,1,1],", "[1]]"),
    "NaN at the end, which Python reads": filled("[", "[1,1,1,1],", "[NaN,1,1,1]]"),
    "integers beyond 64 bits": filled("[", f"{10**30},", "1]"),
    "an integer of all digits": filled("[NaN,", "9", "]"),
    "keys": ("{" + ",".join(f'"{key:06x}":0' for key in range(SIZE // 11)) + "}").encode(),
    "instances": filled('{"instances":[', '{"window":[],"texts":[]},', "1]}"),
    "tensors": filled('{"inputs":[', '{"name":"a","shape":[1,4],"datatype":"FP32","data":[1]},', "1]}"),
    "axes": filled('{"inputs":[{"name":"a","datatype":"FP32","data":[1],"shape":[', "2147483647,", "4]}]}"),
    "depth": filled("", "[", ""),
    "characters that become many": filled('["', "ﷺ", '"]'),
}
DECODERS: dict[str, Callable[[bytes], object]] = {
    "rows": lambda content: body.decode(content, body.JSON, (4,)),
    "texts": lambda content: decode_texts(content, body.JSON),
    "windows and texts": lambda content: decode_news(content, body.JSON, (60, 5)),
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_body_takes_a_small_multiple_of_its_size(fresh_process: Executor, bomb: str, decoder: str) -> None:
    assert fresh_process.submit(most_memory, bomb, decoder).result() <= TIMES * len(BOMBS[bomb]) + 100_000


def most_memory(bomb: str, decoder: str) -> int:
    """The most memory that decoding a body takes (bytes)."""
    tracemalloc.start()
    try:
        with suppress(RequestError):
            DECODERS[decoder](BOMBS[bomb])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("stranger", [True, False, "4", None, {}, {"a": 1}])
def test_only_numbers_are_numbers(stranger: object) -> None:
    mixed = [[1.5, 2, 3, stranger]]
    for sent in (mixed, {"instances": mixed}):
        with pytest.raises(BadType, match="expected numbers"):
            body.decode(orjson.dumps(sent), body.JSON, (4,))


@pytest.mark.parametrize("ragged", [[[1, 2, 3, 4], 5], [1, [2]], [[1, 2, 3, [4]]], [[1, 2, 3, 4], [1]]])
def test_ragged_lists_are_refused_in_every_form(ragged: list) -> None:
    for sent in (ragged, {"instances": ragged}):
        with pytest.raises(BadShape, match="ragged"):
            body.decode(orjson.dumps(sent), body.JSON, (4,))


@pytest.mark.parametrize("identifier", ["\ud800", "a" * 201, "\udfffa"])
def test_an_id_that_cannot_be_sent_back_is_refused(identifier: str) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}

    with pytest.raises(RequestError, match="id"):
        body.decode({"inputs": [tensor], "id": identifier}, body.JSON, (4,))


@given(st.text(st.characters(codec=None), max_size=30), st.integers(0, 300))
def test_any_message_can_be_sent_and_is_short(text: str, times: int) -> None:
    error = RequestError(text * times)

    assert len(str(error)) <= MAX_MESSAGE
    assert orjson.loads(error.body())["detail"] == str(error)


BITS = hnp.arrays(np.uint32, st.integers(1, 8), elements=st.integers(0, 2**32 - 1))


@given(BITS, st.text(max_size=200), st.booleans())
def test_no_answer_is_longer_than_its_number_of_rows_allows(bits: np.ndarray, identifier: str, protocol: bool) -> None:
    values = np.nan_to_num(bits.view(np.float32))
    columns = {
        "plain": values,
        "pair": np.stack([values, values[::-1]], axis=1),
        "label": np.array(["negative", "é\U0001f680"])[(values > 0).astype(int)],
        "count": values.astype(np.float64).astype(np.int64),
        "cut": values > 0,
    }
    size = AnswerSize.of({name: column[:1] for name, column in columns.items()}, 5)
    request = body.RowRequest(np.zeros((len(values), 4), np.float32), protocol, identifier)

    answer = encode_json("m" * 100, "1.0", columns, request)

    longest = size.json_bytes + len(values) * size.json_row_bytes
    assert len(answer) <= longest
    assert size.max_rows(longest, binary=False) == len(values)
    table = np.zeros((len(values), 5), np.float32)
    assert size.max_rows(len(encode_binary(table)), binary=True) == len(values)


@given(st.integers(0, 2**32 - 1))
def test_a_float32_takes_few_bytes_in_json(bits: int) -> None:
    value = np.nan_to_num(np.array([bits], np.uint32).view(np.float32))

    written = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).strip(b"[]")
    assert len(written) < AnswerSize.of({"a": value}, 1).json_row_bytes
