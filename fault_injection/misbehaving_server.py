"""A server on a bare socket that sends whatever it is given, and breaks connections off."""

import socket
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from io import BufferedReader
from typing import Self

import numpy as np
from numpy.typing import NDArray


class End(Enum):
    """End of a connection."""

    CLOSE = auto()
    RESET = auto()


Piece = bytes | float | End
"""Bytes to send, seconds to wait, or the connection's end."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes

    @property
    def rows(self) -> NDArray[np.float32]:
        """Rows of a tick model."""
        return np.frombuffer(self.body, "<f4").reshape(-1, 4)


class MisbehavingServer:
    """Listens while the block runs; each connection is served by a thread. Subclasses define what is sent."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def reply(self, request: Request) -> Iterable[Piece]:
        """Return the pieces of the reply to a request."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """URL that it listens on."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self.is_over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as reader:
            while (request := _read(reader)) is not None:
                if not _send(connection, self.reply(request)):
                    return


def _read(reader: BufferedReader) -> Request | None:
    first = reader.readline().split()
    if len(first) != 3:
        return None
    headers = {}
    while line := reader.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return Request(first[0].decode(), first[1].decode(), headers, reader.read(int(headers.get("content-length", 0))))


def _send(connection: socket.socket, pieces: Iterable[Piece]) -> bool:
    """Send a reply; return whether another request may come over the connection."""
    for piece in pieces:
        if isinstance(piece, End):
            if piece is End.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if isinstance(piece, float):
            time.sleep(piece)
        else:
            connection.sendall(piece)
    return True
