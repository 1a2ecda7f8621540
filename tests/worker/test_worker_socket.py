"""The worker's reader gives what TorchServe's own gives, however the bytes arrive."""

import tracemalloc
from concurrent.futures import Executor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ts.protocol import otf_message_handler
from worker_frames import END, Trickle, length_and, message

from nautilus_torchserve.worker.worker_socket import MAX_PARTS, Reader, install

TEXT = st.text("abc-/1é", max_size=8)
HEADERS = st.lists(st.tuples(TEXT, TEXT), max_size=4)
KINDS = st.sampled_from(["", "application/octet-stream", "image/png"])  # not JSON and text, which it leaves as bytes
PARAMETERS = st.lists(st.tuples(TEXT, KINDS, st.binary(max_size=40)), max_size=3)
BATCHES = st.lists(st.tuples(TEXT, HEADERS, PARAMETERS), max_size=4)


@given(BATCHES, BATCHES, st.lists(st.integers(1, 30), max_size=20))
def test_reads_what_torchserves_own_reader_reads(first: list, second: list, sizes: list[int]) -> None:
    data = message(first) + message(second)
    for_torchserve, for_reader, reader = Trickle(data, []), Trickle(data, sizes), Reader()

    for _ in range(2):
        assert reader.retrieve_msg(for_reader) == otf_message_handler.retrieve_msg(for_torchserve)  # type: ignore[arg-type]


def read_traced(data: bytes, piece: int) -> tuple[list, int]:
    """The parameters of each request in a message that arrives in pieces, and the most memory that reading it took."""
    pieces = Trickle(data, [piece] * (len(data) // piece))
    tracemalloc.start()
    try:
        _, batch = Reader().retrieve_msg(pieces)  # type: ignore[arg-type]
        return [request["parameters"] for request in batch], tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_form_of_many_fields_takes_less_memory_than_its_bytes(fresh_process: Executor) -> None:
    data = b"".join((b"I", length_and("id"), END, 100_000 * (length_and("a") + 2 * length_and("")), END, END))

    (parameters,), most = fresh_process.submit(read_traced, data, 4096).result()

    assert len(parameters) == MAX_PARTS
    assert most < len(data) / 2


def test_what_has_arrived_is_not_parsed_again(fresh_process: Executor) -> None:
    """A batch of large bodies comes in thousands of pieces: 64 of 4 MB took minutes."""
    body = bytes(1 << 20)
    data = message([("id", [], [("body", "application/octet-stream", body)])] * 16)

    parameters, most = fresh_process.submit(read_traced, data, 1 << 14).result()

    assert [len(of_request[0]["value"]) for of_request in parameters] == [len(body)] * 16
    assert most < 1.3 * len(data)  # the parsed, and one body that is not: not all that has arrived besides


def test_frontend_that_is_gone_ends_the_worker() -> None:
    with pytest.raises(SystemExit) as ended:
        Reader().retrieve_msg(Trickle(message([("id", [], [])])[:-3], []))  # type: ignore[arg-type]
    assert ended.value.code == 0


def test_unknown_command_is_named() -> None:
    with pytest.raises(ValueError, match="got b'X'"):
        Reader().retrieve_msg(Trickle(b"X1234", []))  # type: ignore[arg-type]


def test_only_a_worker_is_touched() -> None:
    assert not install()
