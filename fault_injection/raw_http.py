"""HTTP/1.1 on a bare socket: whatever bytes are to be sent, and the whole answer that comes back."""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

_PIECE = 1 << 16
_LARGEST_HEAD = 1 << 16


class NoAnswer(Exception):
    """No whole answer came: the connection was closed or reset, or the time was up."""


class TimedOut(NoAnswer):
    """Nothing came in time."""


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after it."""
        return self.headers.get("connection", "").lower() == "close"


class RawConnection:
    """One connection, opened when it is needed.

    Parameters
    ----------
    address : tuple of str and int
        Host and port.
    timeout_s : float
        Longest wait for a piece of an answer (seconds).
    """

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._socket: socket.socket | None = None
        self._received = b""

    def send(self, data: bytes) -> None:
        """Send all; raises `NoAnswer` where the server does not take it."""
        try:
            self._open().sendall(data)
        except TimeoutError:
            raise TimedOut("the request was not taken in time") from None
        except OSError as error:
            raise NoAnswer(f"while sending: {error}") from None

    def read(self, without_body: bool = False) -> Response:
        """Read the next whole response; ``without_body`` for one to HEAD."""
        while True:
            response = self._read(without_body)
            if response.status != 100:  # Continue: the answer itself comes later
                break
        if response.closes:
            self.close()
        return response

    def close(self, abort: bool = False) -> None:
        """Close; with ``abort`` by a reset, what is under way is lost."""
        if self._socket is not None:
            if abort:
                with suppress(OSError):
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()
        self._socket, self._received = None, b""

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _read(self, without_body: bool) -> Response:
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > _LARGEST_HEAD:
                raise NoAnswer("a head without an end")
            self._receive()
        status, *lines = self._received[:end].decode("latin-1").split("\r\n")
        self._received = self._received[end + 4 :]
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        try:
            code, length = int(status.split(" ")[1]), int(headers.get("content-length", 0))
        except (IndexError, ValueError):
            raise NoAnswer(f"no HTTP answer: {status[:60]!r}") from None
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Response(code, headers, self._read_chunks())
        body = b"" if without_body or code in (100, 204, 304) else self._take(length)
        return Response(code, headers, body)

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            while (end := self._received.find(b"\r\n")) < 0:
                self._receive()
            size = int(self._received[:end].split(b";")[0], 16)
            self._received = self._received[end + 2 :]
            body += self._take(size)
            self._take(2)
            if not size:
                return body

    def _take(self, length: int) -> bytes:
        if len(self._received) < length:
            pieces, have = [self._received], len(self._received)
            self._received = b""
            while have < length:
                self._receive()
                pieces.append(self._received)
                have += len(self._received)
                self._received = b""
            self._received = b"".join(pieces)
        body, self._received = self._received[:length], self._received[length:]
        return body

    def _receive(self) -> None:
        if self._socket is None:
            raise NoAnswer("closed")
        try:
            piece = self._socket.recv(_PIECE)
        except TimeoutError:
            raise TimedOut(f"nothing within {self._timeout_s:g} s") from None
        except OSError as error:
            raise NoAnswer(f"{error}") from None
        if not piece:
            raise NoAnswer("closed by the server")
        self._received += piece
