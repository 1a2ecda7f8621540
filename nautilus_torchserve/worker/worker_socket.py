"""Reads TorchServe's messages to its worker in large pieces.

TorchServe's own reader calls ``recv`` some 35 times a request, four times a header: in batches
of 64 that was 45% of the worker's time (py-spy), and this reader, with JSON left to orjson, gave
half as many requests again. It replaces a private function, which is acceptable only because
torchserve 0.12.0 is frozen upstream; any other version keeps its own.
"""

import struct
import sys
from contextlib import suppress
from socket import socket
from typing import Any

VERSION = "0.12.0"
MAX_PARTS = 16
"""Most parts of a request that are passed on."""
_PIECE = 1 << 18
_int_at = struct.Struct("!i").unpack_from


def install() -> bool:
    """Replace the reader of this worker process; return False in any other process, and of another version."""
    worker, torchserve = sys.modules["__main__"], sys.modules.get("ts")
    if getattr(torchserve, "__version__", None) != VERSION or not hasattr(worker, "TorchModelServiceWorker"):
        return False
    worker.retrieve_msg = Reader().retrieve_msg  # type: ignore[attr-defined]
    return True


class Reader:
    """The received bytes of a batch that are not parsed yet, and its parsed requests.

    A batch is a command byte and requests; a request is an identifier, headers (name, value) and parts (name, content
    type, value). A field is its length and its bytes; a length of -1 ends a list. Nothing is parsed
    twice when more arrives: batches of large bodies come in thousands of pieces.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0
        self._batch: list[dict[str, Any]] | None = None
        self._request: dict[str, Any] | None = None

    def retrieve_msg(self, connection: socket) -> tuple[bytes, list[dict[str, Any]]]:
        """Return the next batch as ``ts.protocol.otf_message_handler.retrieve_msg`` does; JSON stays bytes."""
        while True:
            if self._held and (batch := self._parse()) is not None:
                return b"I", batch
            received = connection.recv(_PIECE)
            if not received:
                sys.exit(0)  # the frontend is gone: as TorchServe's own reader does
            self._held += received

    def _parse(self) -> list[dict[str, Any]] | None:
        """Parse the received bytes; return the batch once it is complete."""
        held = self._held
        if self._batch is None:
            if held[:1] != b"I":
                raise ValueError(f"expected command b'I', got {bytes(held[:1])!r}")
            self._batch, self._at = [], 1
        batch, complete = self._batch, False
        with suppress(struct.error):  # the next length has not arrived
            while True:
                if self._request is None:
                    if _int_at(held, self._at)[0] == -1:
                        self._at += 4
                        complete = True
                        break
                    self._request, self._at = _parse_head(held, self._at)
                self._at, ended = _parse_parts(held, self._at, self._request["parameters"])
                if not ended:
                    break
                batch.append(self._request)
                self._request = None
        del held[: self._at]
        self._at = 0
        if not complete:
            return None
        self._batch = None
        return batch


def _parse_head(held: bytearray, at: int) -> tuple[dict[str, Any], int]:
    """Return one request without its parts, and where they begin; raise `struct.error` where it is cut off.

    Inlined: a function call for each field costs a third of the gain. A field that is cut off ends beyond ``held``, so
    that the next length cannot be read.
    """
    (length,) = _int_at(held, at)
    at += 4
    identifier = held[at : at + length]
    at += length
    headers = []
    (length,) = _int_at(held, at)
    while length != -1:
        name = held[at + 4 : at + 4 + length]
        at += 4 + length
        (length,) = _int_at(held, at)
        headers.append({"name": name, "value": held[at + 4 : at + 4 + length]})
        at += 4 + length
        (length,) = _int_at(held, at)
    return {"requestId": identifier, "headers": headers, "parameters": []}, at + 4


def _parse_parts(held: bytearray, at: int, parts: list[dict[str, Any]]) -> tuple[int, bool]:
    """Add the received parts of a request; return where they end, and whether the list is complete.

    Of a form of millions of fields, which are a few bytes each on the wire and half a kilobyte as objects, the first
    `MAX_PARTS` are kept: handlers read one.
    """
    try:
        while True:
            (length,) = _int_at(held, at)
            if length == -1:
                return at + 4, True
            name_end = at + 4 + length
            (length,) = _int_at(held, name_end)
            kind_end = name_end + 4 + length
            (length,) = _int_at(held, kind_end)
            end = kind_end + 4 + length
            if end > len(held):
                return at, False
            if len(parts) < MAX_PARTS:
                parts.append(
                    {
                        "name": held[at + 4 : name_end].decode(),
                        "contentType": held[name_end + 4 : kind_end].decode(),
                        "value": held[kind_end + 4 : end],
                    }
                )
            at = end
    except struct.error:
        return at, False
