"""Answers as they go over the wire: JSON, or float32.

======================================  =====================================================
``application/octet-stream``            little-endian float32 ``[n, outputs]``, columns in order
``application/json``                    ``{"model", "version", "outputs": {name: [n values]}}``,
                                        or the Open Inference Protocol's ``{"outputs": [tensor, ...]}``
                                        to a request in its form
======================================  =====================================================
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from wire.body import FLOAT32, bytes_to_rows


class Asked(Protocol):
    """What a request asks for, whatever it carries: `wire.body.Request`, `wire.texts.TextRequest`, ..."""

    @property
    def open_inference(self) -> bool:
        """True when it came as an Open Inference Protocol body and wants its answer in kind."""

    @property
    def request_id(self) -> str | None:
        """The protocol's optional ``id``, sent back."""

    def __len__(self) -> int:
        """Rows of the answer."""


def encode_json(model: str, version: str, columns: Mapping[str, NDArray[Any]], asked: Asked) -> bytes:
    """The JSON answer; float32 values as the shortest decimals that read back as the same float32.

    Parameters
    ----------
    columns : mapping
        Output name -> [n, ...] numbers, truth values or texts.
    asked : Asked
        What it answers.
    """
    answer: dict[str, object]
    if asked.open_inference:
        answer = {"model_name": model, "model_version": version}
        if asked.request_id is not None:
            answer["id"] = asked.request_id
        answer["outputs"] = [_tensor(name, values) for name, values in columns.items()]
    else:
        outputs = {name: _plain(values) for name, values in columns.items()}
        answer = {"model": model, "version": version, "outputs": outputs}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_binary(table: NDArray[np.float32]) -> bytes:
    """The binary answer: float32 ``[n, outputs]`` in C order."""
    return np.ascontiguousarray(table, dtype=FLOAT32).tobytes()


def decode_binary(body: bytes, outputs: int) -> NDArray[np.float32]:
    """Inverse of `encode_binary`: float32 ``[n, outputs]``.

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
    """What orjson writes: it knows arrays of numbers, in C order, but not of texts."""
    return values.tolist() if values.dtype.kind == "U" else np.ascontiguousarray(values)
