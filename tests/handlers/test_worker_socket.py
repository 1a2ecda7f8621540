"""The worker's reader gives what TorchServe's own gives, however the bytes arrive."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ts.protocol import otf_message_handler

from handlers.worker_socket import Reader, install

TEXT = st.text("abc-/1é", max_size=8)
HEADERS = st.lists(st.tuples(TEXT, TEXT), max_size=4)
KINDS = st.sampled_from(["", "application/octet-stream", "image/png"])  # not JSON and text, which it leaves as bytes
PARAMETERS = st.lists(st.tuples(TEXT, KINDS, st.binary(max_size=40)), max_size=3)
BATCHES = st.lists(st.tuples(TEXT, HEADERS, PARAMETERS), max_size=4)
END = struct.pack("!i", -1)


def field(content: str | bytes) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return struct.pack("!i", len(data)) + data


def message(batch: list) -> bytes:
    """A batch as TorchServe's frontend writes it."""
    written = b"I"
    for identifier, headers, parameters in batch:
        written += field(identifier)
        written += b"".join(field(name) + field(value) for name, value in headers) + END
        written += b"".join(field(name) + field(kind) + field(value) for name, kind, value in parameters) + END
    return written + END


class Trickle:
    """A socket's receiving end whose bytes arrive in pieces of these sizes, the rest at once."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = list(sizes)

    def recv(self, limit: int) -> bytes:
        size = min(limit, self._sizes.pop(0) if self._sizes else len(self._data))
        piece, self._data = self._data[:size], self._data[size:]
        return piece


@given(BATCHES, BATCHES, st.lists(st.integers(1, 30), max_size=20))
def test_reads_what_torchserves_own_reader_reads(first: list, second: list, sizes: list[int]) -> None:
    data = message(first) + message(second)
    theirs, ours, reader = Trickle(data, []), Trickle(data, sizes), Reader()

    for _ in range(2):
        assert reader.retrieve_msg(ours) == otf_message_handler.retrieve_msg(theirs)  # type: ignore[arg-type]


def test_frontend_that_is_gone_ends_the_worker() -> None:
    with pytest.raises(SystemExit) as ended:
        Reader().retrieve_msg(Trickle(message([("id", [], [])])[:-3], []))  # type: ignore[arg-type]
    assert ended.value.code == 0


def test_unknown_command_is_named() -> None:
    with pytest.raises(ValueError, match="was b'X'"):
        Reader().retrieve_msg(Trickle(b"X1234", []))  # type: ignore[arg-type]


def test_only_a_worker_is_touched() -> None:
    assert not install()
