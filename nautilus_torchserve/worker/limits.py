"""Limits of one request to a worker: its size, the size of its answer, and the memory that the worker may take.

TorchServe limits a body (``max_request_size``) and an answer (``max_response_size``: a longer one ends the worker), but
not a whole batch. So that a batch of the largest allowed requests is answered within its time and memory too, a
registration that batches allows a smaller share to each request: the same one whatever else is in the batch.
"""

import os
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.wire.body import FLOAT32, MAX_RESPONSE_SIZE
from nautilus_torchserve.wire.news_windows import MAX_CHARACTERS

MEBIBYTE = 1 << 20
BATCH_BYTES = 16 * MEBIBYTE
"""Most bytes of all bodies of a batch, and of all its answers."""
BATCH_CHARACTERS = 2 * MAX_CHARACTERS
"""Most characters of all texts of a batch."""
DEFAULT_RESPONSE_BYTES = 4 * MEBIBYTE
"""Where the variable is not set: ``max_response_size`` of our ``config.properties``; TorchServe's own is larger."""
MEMORY_HEADROOM = "memoryHeadroomMiB"
"""Key of ``model-config.yaml``: see `limit_memory`."""
DEFAULT_MEMORY_HEADROOM_MIB = 1024
_NUMBER_BYTES = {"f": 18, "i": 21, "b": 6}
"""NumPy's kind -> bytes of its longest value in JSON, comma included: ``-0.000012345679``, with two digits to spare."""
_BRACKETS = 3
"""Bytes of a row that is a list, comma included."""
_NAME_BYTES = 150
"""Most bytes of the Open Inference Protocol's tensor besides its name and values."""
_ENVELOPE_BYTES = 4096
"""Most bytes of the names of model and version, and of the protocol's ``id``."""


@dataclass(frozen=True)
class Limits:
    """Limits of one request to a registration."""

    batch_size: int
    """Most requests of one batch."""
    body_bytes: int | None
    """Most bytes of a body; None: TorchServe's own limit."""
    answer_bytes: int
    """Most bytes of an answer."""
    characters: int
    """Most characters of all texts of a request."""


def read_limits(batch_size: int | None) -> Limits:
    """Return the limits of a registration with this batch size.

    Raises
    ------
    ValueError
        `MAX_RESPONSE_SIZE` is no number of bytes.
    """
    response_size = os.environ.get(MAX_RESPONSE_SIZE, str(DEFAULT_RESPONSE_BYTES))
    if not re.fullmatch("[0-9]{1,10}", response_size):
        raise ValueError(f"{MAX_RESPONSE_SIZE}: expected a number of bytes, got {response_size[:40]!r}")
    answer_bytes, size = int(response_size), max(batch_size or 1, 1)
    if size == 1:
        return Limits(1, None, answer_bytes, MAX_CHARACTERS)
    share = BATCH_BYTES // size
    return Limits(size, share, min(answer_bytes, share), min(MAX_CHARACTERS, BATCH_CHARACTERS // size))


def read_memory_headroom(config: object) -> int:
    """Return the memory headroom of an archive's ``model-config.yaml``, bytes; 0: without a limit.

    Raises
    ------
    ValueError
        It is no whole number of MiB.
    """
    settings = config if isinstance(config, Mapping) else {}
    mebibytes = settings.get(MEMORY_HEADROOM, DEFAULT_MEMORY_HEADROOM_MIB)
    if type(mebibytes) is not int or not 0 <= mebibytes < 1 << 20:
        raise ValueError(f"{MEMORY_HEADROOM}: expected a whole number of MiB, got {mebibytes!r:.40}")
    return mebibytes * MEBIBYTE


def limit_memory(headroom: int) -> int | None:
    """Limit this process to so many bytes more than it holds now: beyond them an allocation fails.

    The limit is on data (``RLIMIT_DATA``), not on addresses, of which torch reserves far more than it uses.

    Returns
    -------
    int or None
        The limit, bytes; None where the system has none (only Linux counts mapped data).
    """
    status = Path("/proc/self/status")
    match = re.search(r"^VmData:\s+(\d+) kB$", status.read_text(), re.MULTILINE) if status.is_file() else None
    if match is None:
        return None
    limit, (_, hard) = int(match[1]) * 1024 + headroom, resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return limit


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
            As `wire.body.encode_json` takes them, [1, ...] each.
        outputs : int
            Columns of the binary answer.
        """
        row = sum(values.size * _max_bytes(values.dtype) + _BRACKETS * (values.ndim > 1) for values in columns.values())
        names = sum(_NAME_BYTES + 4 * len(name) for name in columns)
        return cls(_ENVELOPE_BYTES + names, row, FLOAT32.itemsize * outputs)

    def max_rows(self, size: int, binary: bool) -> int:
        """Return how many rows an answer of this many bytes certainly holds."""
        return size // self.binary_row_bytes if binary else max(size - self.json_bytes, 0) // self.json_row_bytes


def _max_bytes(dtype: np.dtype[Any]) -> int:
    return dtype.itemsize + 3 if dtype.kind == "U" else _NUMBER_BYTES[dtype.kind]  # UTF-8, quotes, comma
