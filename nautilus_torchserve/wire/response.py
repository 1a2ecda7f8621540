"""Answers on the wire: JSON, or float32.

======================================  =====================================================
``application/octet-stream``            little-endian float32 ``[n, outputs]``, columns in order
``application/json``                    ``{"model", "version", "outputs": {name: [n values]}}``,
                                        or the Open Inference Protocol's ``{"outputs": [tensor, ...]}``
                                        to a request in its form
======================================  =====================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from nautilus_torchserve.wire.body import FLOAT32, bytes_to_rows

MAX_RESPONSE_SIZE = "TS_MAX_RESPONSE_SIZE"
"""Environment variable of a worker: the server's ``max_response_size``, in bytes."""


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


@dataclass(frozen=True)
class AnswerSize:
    """Upper bounds of the length of an answer, given its number of rows."""

    json_bytes: int
    """Most bytes of a JSON answer without rows."""
    json_row_bytes: int
    """Most bytes of a row in JSON."""
    binary_row_bytes: int
    """Bytes of a row in binary."""

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]], outputs: int) -> "AnswerSize":
        """Return the sizes of answers like one of a single row.

        Parameters
        ----------
        columns : mapping
            As `encode_json` takes them, [1, ...] each.
        outputs : int
            Columns of the binary answer.
        """
        row = sum(values.size * _max_bytes(values.dtype) + _BRACKETS * (values.ndim > 1) for values in columns.values())
        names = sum(_NAME_BYTES + 4 * len(name) for name in columns)
        return cls(_ENVELOPE_BYTES + names, row, FLOAT32.itemsize * outputs)

    def max_rows(self, size: int, binary: bool) -> int:
        """Return how many rows an answer of this many bytes certainly holds."""
        return size // self.binary_row_bytes if binary else max(size - self.json_bytes, 0) // self.json_row_bytes


_NUMBER_BYTES = {"f": 18, "i": 21, "b": 6}
"""NumPy's kind -> bytes of its longest value in JSON, comma included: ``-0.000012345679``, with two digits to spare."""
_BRACKETS = 3
"""Bytes of a row that is a list, comma included."""
_NAME_BYTES = 150
"""Most bytes of the Open Inference Protocol's tensor besides its name and values."""
_ENVELOPE_BYTES = 4096
"""Most bytes of the names of model and version, and of the protocol's ``id``."""


def _max_bytes(dtype: np.dtype[Any]) -> int:
    return dtype.itemsize + 3 if dtype.kind == "U" else _NUMBER_BYTES[dtype.kind]  # UTF-8, quotes, comma


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
