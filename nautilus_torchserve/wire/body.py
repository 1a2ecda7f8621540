"""Rows of numbers as the body of a request, and outputs as that of its answer.

======================================  =====================================================
request
``application/octet-stream``            little-endian float32 rows in C order (the fast path)
``application/json``                    a nested list of rows, or ``{"instances": rows}``, or the
                                        Open Inference Protocol's ``{"inputs": [tensor]}``;
                                        ``"ts_event"`` beside either: Unix ns of each row's steps
answer
``application/octet-stream``            little-endian float32 ``[n, outputs]``, columns in order
``application/json``                    ``{"model", "version", "outputs": {name: [n values]}}``,
                                        or the Open Inference Protocol's ``{"outputs": [tensor, ...]}``
                                        to a request in its form
======================================  =====================================================

The Open Inference Protocol: https://github.com/kserve/open-inference-protocol
"""

import json
import math
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from nautilus_torchserve.wire.errors import (
    BadShape,
    BadType,
    EmptyBody,
    MalformedBody,
    NotFinite,
    RequestError,
    UnsupportedContentType,
)

BINARY = "application/octet-stream"
JSON = "application/json"
MAX_RESPONSE_SIZE = "TS_MAX_RESPONSE_SIZE"
"""Environment variable of a worker: the server's ``max_response_size``, in bytes."""
FLOAT32 = np.dtype("<f4")
MAX_ID_LENGTH = 200
"""Most characters of the Open Inference Protocol's ``id``, which is returned with the answer."""
_MAX_AXIS = 1 << 31
"""Largest axis of a tensor: beyond any body, and small enough to be multiplied and shown."""
_OIP_NUMBERS = frozenset(
    ("FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)


@dataclass(frozen=True)
class RowRequest:
    """A decoded request for rows of numbers."""

    rows: NDArray[np.float32]
    """float32 [n, *row_shape], finite, n >= 1."""
    open_inference: bool = False
    """Whether it came as an Open Inference Protocol body; its answer takes that form too."""
    request_id: str | None = None
    """The protocol's optional ``id``, returned with the answer."""
    ts_event: NDArray[np.int64] | None = None
    """int64 [n, time_steps], Unix ns: the time of each step of a row, where the sender gave it."""

    def __len__(self) -> int:
        return len(self.rows)


def decode(body: object, content_type: str | None, row_shape: tuple[int, ...]) -> RowRequest:
    """Decode a request's body.

    Parameters
    ----------
    body : bytes, bytearray, or parsed JSON
        TorchServe's own reader parses ``application/json`` and passes malformed JSON on as bytes; ours
        leaves JSON to this function.
    content_type : str or None
        The header as sent; parameters such as ``charset`` are ignored.
    row_shape : tuple of int
        Shape of one row by the model's schema.

    Raises
    ------
    EmptyBody, MalformedBody, BadShape, BadType, NotFinite, UnsupportedContentType
    """
    kind = check_content(body, content_type, (BINARY, JSON), f"rows of shape {_shape(row_shape)}")
    if kind == BINARY:
        if not isinstance(body, bytes | bytearray):
            raise BadType(f"expected float32 bytes for {BINARY}, got {type(body).__name__}")
        return RowRequest(_finite(bytes_to_rows(body, row_shape)))
    if not isinstance(body, bytes | bytearray):
        return _from_json(parse_json(body) if isinstance(body, str) else body, row_shape)
    parsed = parse_json(body)
    if isinstance(parsed, list) and _holds_numbers_only(body):
        return RowRequest(_from_list(parsed, row_shape, checked=True))
    return _from_json(parsed, row_shape)


def _holds_numbers_only(text: bytes | bytearray) -> bool:
    """Return whether JSON has no leaves but numbers: it holds not one letter of any others, which a search shows."""
    return not (b'"' in text or b"{" in text or b"u" in text or b"a" in text)  # true and null; false and NaN


def check_content(body: object, content_type: str | None, kinds: tuple[str, ...], what: str) -> str:
    """Return the content type without its parameters, one of ``kinds``; ``what`` names what the body should hold.

    Raises
    ------
    EmptyBody, UnsupportedContentType
    """
    kind = (content_type or "none").split(";")[0].strip().lower()
    if kind not in kinds and (body or content_type):
        raise UnsupportedContentType(f"expected content type {' or '.join(kinds)}, got {excerpt(kind)}")
    if body is None or (isinstance(body, bytes | bytearray | str) and not body):
        raise EmptyBody(f"expected {what}, got an empty body")
    return kind


def encode_rows(rows: NDArray[np.float32]) -> bytes:
    """Encode rows as the body of an ``application/octet-stream`` request."""
    return np.ascontiguousarray(rows, dtype=FLOAT32).tobytes()


def _shape(row_shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(("n", *map(str, row_shape))) + "]"


def bytes_to_rows(body: bytes | bytearray, row_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return little-endian float32 in C order as ``[n, *row_shape]``; raise `BadShape` where n is not whole."""
    width = FLOAT32.itemsize * math.prod(row_shape)
    if len(body) % width:
        raise BadShape(f"expected float32 rows of shape {_shape(row_shape)}, {width} bytes each, got {len(body)} bytes")
    return np.frombuffer(body, dtype=FLOAT32).reshape(-1, *row_shape)


def parse_json(text: bytes | bytearray | str) -> object:
    """Parse JSON, or what Python's own module writes for it; raise `MalformedBody` where it is neither."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # NaN, Infinity and 1e999 are no JSON, but Python's own module reads and writes them.
        with suppress(ValueError, RecursionError):
            return json.loads(text)
        raise MalformedBody(f"expected JSON, got {error}") from error


def _from_json(body: object, row_shape: tuple[int, ...]) -> RowRequest:
    if isinstance(body, list):
        return RowRequest(_from_list(body, row_shape))
    if not isinstance(body, dict):
        raise MalformedBody(f'expected a list of rows, {{"instances"}} or {{"inputs"}}, got {type(body).__name__}')
    if "instances" in body:
        rows = _from_list(body["instances"], row_shape)
        return RowRequest(rows, ts_event=_times(body.get("ts_event"), rows))
    if "inputs" in body:
        rows = check_rows(tensor_numbers(only(tensors(body["inputs"])), row_shape), row_shape)
        return RowRequest(rows, True, identifier(body), _times(body.get("ts_event"), rows))
    got = f"an object with {excerpt(sorted(body))}"
    raise MalformedBody(f'expected a list of rows, {{"instances"}} or {{"inputs"}}, got {got}')


def _times(nested: object, rows: NDArray[np.float32]) -> NDArray[np.int64] | None:
    if nested is None:
        return None
    try:
        times = numbers(nested)
    except RequestError as error:
        raise type(error)(f'"ts_event": {error}') from error
    if times.shape != rows.shape[:-1]:
        raise BadShape(f'expected "ts_event" of shape {list(rows.shape[:-1])}, got {list(times.shape)}')
    if times.dtype != np.int64:  # a float has lost nanoseconds by now, and so has a mixture with what fits uint64 only
        raise BadType(f'expected "ts_event" in whole Unix nanoseconds of 64 bits, got {times.flat[0]} as {times.dtype}')
    return times


def identifier(body: dict[str, object]) -> str | None:
    """Return the Open Inference Protocol's optional ``id``; raise `MalformedBody` where no answer can hold it."""
    value = body.get("id")
    if value is None:
        return None
    if not isinstance(value, str):
        raise MalformedBody(f'expected "id" as a string, got {type(value).__name__}')
    if len(value) > MAX_ID_LENGTH:
        raise MalformedBody(f'expected "id" of at most {MAX_ID_LENGTH} characters, got {len(value):,}')
    if not is_unicode(value):
        raise MalformedBody(f'expected "id" as Unicode text, got a lone surrogate in {excerpt(value)!r}')
    return value


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold a text: JSON can also escape halves of characters (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def tensors(inputs: object) -> list[dict[str, object]]:
    """Return the protocol's ``inputs``, each with name, shape, datatype and data; raise `MalformedBody` otherwise."""
    if not isinstance(inputs, list) or not inputs or not all(isinstance(tensor, dict) for tensor in inputs):
        raise MalformedBody('expected "inputs" as a list of tensors')
    for tensor in inputs:
        missing = sorted({"name", "shape", "datatype", "data"} - set(tensor))
        if missing:
            raise MalformedBody(
                f'expected a tensor with "name", "shape", "datatype" and "data", got one without {missing}'
            )
        shape = tensor["shape"]
        if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < _MAX_AXIS for size in shape):
            raise MalformedBody(f'expected "shape" as a list of sizes, got {excerpt(shape)}')
        for key in ("name", "datatype"):
            if not isinstance(tensor[key], str):
                raise MalformedBody(f'expected "{key}" as a string, got {type(tensor[key]).__name__}')
    return inputs


def only(inputs: list[dict[str, object]]) -> dict[str, object]:
    """Return the only tensor; raise `MalformedBody` where there are several."""
    if len(inputs) != 1:
        raise MalformedBody(f'expected "inputs" as a list of one tensor, got {len(inputs)}')
    return inputs[0]


def tensor_numbers(tensor: dict[str, Any], row_shape: tuple[int, ...]) -> NDArray:
    """Return a tensor's values, [n, *row_shape], of whatever numeric type.

    Raises
    ------
    BadType, BadShape
    """
    if tensor["datatype"] not in _OIP_NUMBERS:
        raise BadType(f"expected datatype FP32 or another number, got {excerpt(tensor['datatype'])}")
    shape = tensor["shape"]
    if tuple(shape[1:]) != row_shape:
        raise BadShape(f"expected rows of shape {_shape(row_shape)}, got {excerpt(shape)}")
    values = numbers(tensor["data"])
    if values.size != math.prod(shape):
        raise BadShape(f"expected {math.prod(shape)} values for shape {shape}, got {values.size}")
    return values.reshape(shape)


def _from_list(rows: object, row_shape: tuple[int, ...], checked: bool = False) -> NDArray[np.float32]:
    if not isinstance(rows, list):
        raise MalformedBody(f"expected a list of rows, got {type(rows).__name__}")
    if not rows:
        raise EmptyBody(f"expected rows of shape {_shape(row_shape)}, got an empty list")
    return check_rows(numbers(rows, checked), row_shape)


def numbers(nested: object, checked: bool = False) -> NDArray:
    """Convert nested lists of numbers, or an array, to an array whose type NumPy chooses.

    Parameters
    ----------
    nested : list or array
    checked : bool
        Whether a list is known to hold numbers and lists alone.

    Raises
    ------
    BadShape, BadType, NotFinite
    """
    if not (checked or isinstance(nested, np.ndarray)):
        _check_leaves(nested)
    try:
        values = np.asarray(nested)
    except ValueError as error:
        raise BadShape("expected rows of equal length, got a ragged list") from error
    if values.dtype.kind not in "iuf":
        if values.dtype.kind == "O" and not isinstance(nested, np.ndarray):  # all are int or float: see _check_leaves
            raise NotFinite("expected numbers, got an integer beyond the range of 64 bits")
        raise BadType(f"expected numbers, got an array of {values.dtype}")
    return values


def _check_leaves(nested: object) -> None:
    """Refuse whatever holds something else than numbers, or numbers beside lists, before NumPy sees it.

    NumPy allocates the length of the longest string for every element, so that a body of 100 KB can take a gigabyte;
    and it accepts booleans as numbers. Here the lists of a level are joined into one until their items are no lists.
    """
    level: list[Any] = nested if isinstance(nested, list) else [nested]
    while True:
        kinds = set(map(type, level))
        if not kinds <= _NESTED:
            item = next(item for item in level if type(item) not in _NESTED)
            raise BadType(f"expected numbers, got {type(item).__name__} {excerpt(item)!r}")
        if list not in kinds:
            return
        if len(kinds) > 1:
            raise BadShape("expected rows of equal length, got a ragged list, of numbers and of lists")
        level = list(chain.from_iterable(level))


_NESTED = frozenset((int, float, list))


def excerpt(value: object) -> str:
    """Return the beginning of a value for a message, however large or deeply nested it is."""
    return (value if isinstance(value, str) else reprlib.repr(value))[:40]


def check_rows(values: NDArray, row_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Convert numbers to float32 ``[n, *row_shape]``; raise unless n >= 1 and all are finite.

    Raises
    ------
    BadShape, EmptyBody, NotFinite
    """
    if values.shape[1:] != row_shape:
        raise BadShape(f"expected rows of shape {_shape(row_shape)}, got {list(values.shape)}")
    with np.errstate(over="ignore"):  # an overflow becomes inf and is refused by name
        return _finite(values.astype(FLOAT32, copy=False))


def _finite(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(rows):
        raise EmptyBody("expected at least one row, got none")
    if not np.isfinite(rows).all():
        place = np.argwhere(~np.isfinite(rows))[0].tolist()
        raise NotFinite(f"expected finite float32 values, got {rows[tuple(place)]} at {place}")
    return rows


class DecodedRequest(Protocol):
    """A decoded request, whatever it carries: `wire.body.RowRequest`, `wire.news_windows.TextRequest`, ..."""

    @property
    def open_inference(self) -> bool:
        """Whether it came as an Open Inference Protocol body; its answer takes that form too."""

    @property
    def request_id(self) -> str | None:
        """The protocol's optional ``id``, returned with the answer."""

    def __len__(self) -> int:
        """Return the number of rows of the answer."""


def encode_json(model: str, version: str, columns: Mapping[str, NDArray[Any]], request: DecodedRequest) -> bytes:
    """Encode the JSON answer; float32 values as the shortest decimals that parse as the same float32.

    Parameters
    ----------
    columns : mapping
        Output name -> [n, ...] numbers, booleans or texts.
    request : DecodedRequest
        The request that it answers.
    """
    answer: dict[str, object]
    if request.open_inference:
        answer = {"model_name": model, "model_version": version}
        if request.request_id is not None:
            answer["id"] = request.request_id
        answer["outputs"] = [_tensor(name, values) for name, values in columns.items()]
    else:
        outputs = {name: _plain(values) for name, values in columns.items()}
        answer = {"model": model, "version": version, "outputs": outputs}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_binary(table: NDArray[np.float32]) -> bytes:
    """Encode the binary answer: float32 ``[n, outputs]`` in C order."""
    return np.ascontiguousarray(table, dtype=FLOAT32).tobytes()


def decode_binary(body: bytes, outputs: int) -> NDArray[np.float32]:
    """Return float32 ``[n, outputs]``; the inverse of `encode_binary`.

    Raises
    ------
    BadShape
        The body is no whole number of rows of ``outputs`` values.
    """
    return bytes_to_rows(body, (outputs,))


_DATATYPES = {"f": "FP32", "i": "INT64", "b": "BOOL", "U": "BYTES"}
"""NumPy's kind -> the protocol's name."""


def _tensor(name: str, values: NDArray[Any]) -> dict[str, object]:
    datatype = _DATATYPES[values.dtype.kind]
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": _plain(values.reshape(-1))}


def _plain(values: NDArray[Any]) -> object:
    """Return what orjson can write: arrays of numbers in C order, but lists of texts."""
    return values.tolist() if values.dtype.kind == "U" else np.ascontiguousarray(values)
