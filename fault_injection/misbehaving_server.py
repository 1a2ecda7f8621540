"""A server on a bare socket whose answers are generated: right ones, and every way of being wrong.

Replies are made from a seed and an index. A reply is judged by what a client may make of it: the exact bits that the
model gives to the rows that were asked about, or an error.
"""

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fault_injection.nasty import NASTY_TEXTS, NASTY_VALUES, damaged_json, mutated
from nautilus_torchserve.wire.headers import ARCHIVE_DIGEST, CLIENT_REQUEST_ID, FEATURE_SCHEMA, MODEL_VERSION

Piece = bytes | float | None
"""Bytes to send, seconds to wait, or None: reset the connection."""
Headers = Mapping[str, str | None]
Table = NDArray[np.float32]
_HUGE = 20_000_000
_BLOCK = b"x" * 65536
_BOMB = gzip.compress(bytes(_HUGE), mtime=0)


@dataclass(frozen=True)
class Question:
    """What was asked, and the right answer to it."""

    table: Table
    """float32 [n, outputs]."""
    metadata: Mapping[str, Any]
    request_id: str
    """Empty where the client sent none."""

    def head(self, length: int, status: str = "200 OK", changes: Headers | None = None) -> bytes:
        """The head of a right answer but for the changes; None leaves a header out."""
        headers: dict[str, str | None] = {
            "content-type": "application/octet-stream",
            MODEL_VERSION: self.metadata["version"],
            ARCHIVE_DIGEST: self.metadata["archive_digest"],
            FEATURE_SCHEMA: self.metadata["feature_schema_sha256"],
            CLIENT_REQUEST_ID: self.request_id or None,
            "content-length": str(length),
        }
        headers |= changes or {}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")

    def right(self) -> bytes:
        """The whole right answer."""
        body = self.table.tobytes()
        return self.head(len(body)) + body


def _whole(question: Question, body: bytes, status: str = "200 OK", changes: Headers | None = None) -> Iterator[Piece]:
    yield question.head(len(body), status, changes)
    yield body


def _right(question: Question, random: Random) -> Iterator[Piece]:
    yield question.right()


def _values(question: Question, random: Random) -> Iterator[Piece]:
    """Numbers that are no probabilities."""
    table = question.table.copy()
    odd = random.choice((float("nan"), float("inf"), -float("inf"), -0.01, 1.01, 2.0, -1e30, 3e38, 1e-30))
    chance = random.random()
    if chance < 0.4:
        table[random.randrange(len(table)), random.randrange(table.shape[1])] = odd
    elif chance < 0.6:
        table[:] = odd
    elif chance < 0.8:
        table[:] = random.choice((0.0, 1.0, 0.5, 0.9))
    else:
        table[:, random.randrange(table.shape[1])] += random.choice((0.01, 0.2, -0.3))
    yield from _whole(question, table.astype(np.float32).tobytes())


def _length(question: Question, random: Random) -> Iterator[Piece]:
    """Another number of bytes than the rows need."""
    body = question.table.tobytes()
    yield from _whole(
        question, random.choice((b"", body[:-1], body[:-4], body + b"\0" * 4, body * 2, body[:3], body + body[:12]))
    )


def _content_type(question: Question, random: Random) -> Iterator[Piece]:
    """As many bytes as the rows need, of another content type."""
    size = question.table.nbytes
    kind = random.choice(
        ("text/html", "application/json", "text/plain; charset=utf-8", "", None, "image/png", "\udcff")
    )
    body = (b"<html>gateway" * (size // 13 + 1))[:size] if random.random() < 0.5 else question.table.tobytes()
    yield from _whole(question, body, changes={"content-type": kind})


def _headers(question: Question, random: Random) -> Iterator[Piece]:
    """A right body under headers that lack, repeat or spoil something."""
    name = random.choice((MODEL_VERSION, ARCHIVE_DIGEST, FEATURE_SCHEMA, CLIENT_REQUEST_ID))
    value = random.choice((None, "", " ", "\udcff\udcfe", "a" * 20_000, "\x01", *NASTY_TEXTS[:12], "another-request"))
    yield from _whole(question, question.table.tobytes(), changes={name: value})


def _status(question: Question, random: Random) -> Iterator[Piece]:
    """Another status over a right body."""
    status = random.choice(
        (
            "201 Created",
            "202 Accepted",
            "203 x",
            "206 Partial Content",
            "299 x",
            "300 x",
            "301 Moved",
            "302 Found",
            "307 x",
            "400 Bad Request",
            "401 x",
            "403 x",
            "404 x",
            "409 x",
            "418 x",
            "429 x",
            "500 x",
            "502 x",
            "503 x",
            "504 x",
            "507 x",
            "599 x",
            "600 x",
            "999 x",
            "0 x",
            "-1 x",
            "abc",
            "",
            "99999",
        )
    )
    location = random.choice((None, "http://127.0.0.1:1/", "/", "file:///etc/passwd"))
    yield from _whole(question, question.table.tobytes(), status, {"location": location})


_ERROR_BODIES: tuple[Any, ...] = (
    {"error": []},
    {"error": {}},
    {"error": None},
    {"error": 5},
    {"error": "BadShape"},
    {"error": "NotFinite", "detail": []},
    {"error": "DeadlinePassed", "detail": {"a": 1}},
    {"error": "RequestError"},
    {"error": "UserError"},
    {"message": 5},
    {"error": "SchemaMismatch", "code": "x"},
    {"code": 10**400},
    {"message": ["Token"]},
    {"message": "Token"},
    [],
    "x",
    5,
    None,
    True,
    {"error": "InvalidResponse", "detail": "\ud800"},
    {"error": "__class__"},
    {"error": "OutputNotFinite"},
    {"error": "BadWindow", "detail": "a\nb\r\nc\x1b[31m"},
    {"message": "[/red]%s{0}"},
    {"detail": "x"},
    {"error": "x" * 5000},
    {"error": "Unavailable", "detail": "x" * 100_000},
    {"message": "y" * 100_000},
    {"type": "x", "message": None},
)


def _error_body(question: Question, random: Random) -> Iterator[Piece]:
    """An error's status with a body of any kind."""
    status = random.choice(("400 x", "404 x", "409 x", "413 x", "422 x", "500 x", "502 x", "503 x", "504 x", "599 x"))
    value = random.choice((*_ERROR_BODIES, *NASTY_VALUES))
    bodies = (
        json.dumps(value).encode(),
        json.dumps(value).encode(),
        b"\xff\xfe" * 50,
        b"[" * 50_000,
        b"<html>" * 100,
        b"",
        b'{"error": "BadShape"',
        b"\0" * 100,
        "é中".encode("utf-16"),
        b'{"code": 1e999, "error": NaN}',
    )
    yield from _whole(question, random.choice(bodies), status, {"content-type": "application/json"})


def _huge(question: Question, random: Random) -> Iterator[Piece]:
    """More than anybody would want to read."""
    way = random.randrange(5)
    if way == 0:  # an error text
        yield question.head(_HUGE, random.choice(("500 x", "400 x")), {"content-type": "text/plain"})
        yield from (_BLOCK for _ in range(_HUGE // len(_BLOCK)))
    elif way == 1:  # an answer
        yield question.head(10 * _HUGE)
        yield from (_BLOCK for _ in range(10 * _HUGE // len(_BLOCK)))
    elif way == 2:  # headers without an end
        yield b"HTTP/1.1 200 OK\r\n"
        yield from (b"x-%d: %s\r\n" % (number, b"a" * 60_000) for number in range(2000))
    elif way == 3:  # chunks without an end
        yield question.head(0, changes={"content-length": None, "transfer-encoding": "chunked"})
        yield from (b"10000\r\n" + _BLOCK + b"\r\n" for _ in range(10 * _HUGE // len(_BLOCK)))
    else:  # no length at all
        yield question.head(0, changes={"content-length": None})
        yield from (_BLOCK for _ in range(10 * _HUGE // len(_BLOCK)))
    yield None


def _framing(question: Question, random: Random) -> Iterator[Piece]:
    """Lengths and chunks that lie."""
    body = question.table.tobytes()
    length = random.choice(("-1", "x", str(len(body) + 12), str(10**15), "9" * 30, "1,1", None))
    chunked = random.choice((None, "chunked", "gzip, chunked", "identity"))
    yield question.head(0, changes={"content-length": length, "transfer-encoding": chunked})
    yield random.choice((body, b"zz\r\n" + body, b"c\r\n" + body[:12] + b"\r\n0\r\n\r\n", b""))
    if random.random() < 0.5:
        yield None


def _second_answer(question: Question, random: Random) -> Iterator[Piece]:
    """A right answer, and after it another to no request."""
    yield question.right()
    yield random.choice((0.0, 0.002))
    other = np.roll(question.table, 1, axis=1)
    headers: Headers = {} if random.random() < 0.5 else {CLIENT_REQUEST_ID: random.choice((None, "old"))}
    yield question.head(other.nbytes, changes=headers) + other.tobytes()


def _stale(question: Question, random: Random) -> Iterator[Piece]:
    """A whole answer to the question before this one."""
    other = np.roll(question.table, 1, axis=1)
    headers = {CLIENT_REQUEST_ID: random.choice((None, "of-another-question"))}
    yield question.head(other.nbytes, changes=headers) + other.tobytes()


def _late(question: Question, random: Random) -> Iterator[Piece]:
    """An answer that comes when the client has given up, for the next question to find."""
    yield 0.35
    yield question.right()


def _drip(question: Question, random: Random) -> Iterator[Piece]:
    """A right answer byte by byte."""
    for at, byte in enumerate(question.right()):
        yield bytes([byte])
        if at % 8 == 0:
            yield 0.01


def _reset(question: Question, random: Random) -> Iterator[Piece]:
    """A connection that ends somewhere in the answer, or before it."""
    answer = question.right()
    yield answer[: random.randrange(len(answer) + 1)]
    yield None


def _garbage(question: Question, random: Random) -> Iterator[Piece]:
    """Another protocol."""
    yield random.choice(
        (
            b"",
            random.randbytes(300),
            b"\x15\x03\x03\x00\x02\x02\x28",
            b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/0.9 200 OK\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"<html></html>",
            b"\r\n" * 500,
            b"220 ftp\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 300,
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"ICY 200 OK\r\n\r\n" + b"a" * 500,
        )
    )
    yield None


def _compressed(question: Question, random: Random) -> Iterator[Piece]:
    """An answer that says it is compressed, and is, or is not."""
    body = question.table.tobytes()
    packed = random.choice((gzip.compress(body, mtime=0), body, _BOMB, b"\x1f\x8b\x08" + body))
    yield from _whole(question, packed, changes={"content-encoding": random.choice(("gzip", "deflate", "br", "x"))})


def _mutated_head(question: Question, random: Random) -> Iterator[Piece]:
    """A right answer, some of whose head's bytes were changed."""
    body = question.table.tobytes()
    yield mutated(question.head(len(body))[:-4], random, most=2) + b"\r\n\r\n" + body
    if random.random() < 0.5:
        yield None


REPLIES: Mapping[str, tuple[float, bool, Callable[[Question, Random], Iterator[Piece]]]] = {
    "right": (6, True, _right),
    "values": (14, False, _values),
    "length": (6, False, _length),
    "content type": (6, False, _content_type),
    "headers": (10, True, _headers),
    "status": (8, False, _status),
    "error body": (14, False, _error_body),
    "huge": (2, False, _huge),
    "framing": (8, True, _framing),
    "second answer": (6, True, _second_answer),
    "stale": (4, False, _stale),
    "late": (2, True, _late),
    "drip": (2, True, _drip),
    "reset": (6, True, _reset),
    "garbage": (5, False, _garbage),
    "compressed": (3, True, _compressed),
    "mutated head": (10, True, _mutated_head),
}
"""Kind -> how often it comes, whether a client may take the right bits from it, and what makes it."""
_NAMES, _WEIGHTS = tuple(REPLIES), tuple(weight for weight, _, _ in REPLIES.values())
GARBAGE = tuple(name for name, (_, may_be_right, _) in REPLIES.items() if not may_be_right)
"""Kinds that no client may take for an answer."""


def reply_kind(seed: int, index: int, names: tuple[str, ...] = _NAMES) -> str:
    """Which kind of reply an index of a seed is."""
    return Random(f"kind {seed} {index}").choices(names, [REPLIES[name][0] for name in names])[0]


def damaged_description(metadata: Mapping[str, Any], random: Random) -> bytes:
    """What a model might say of itself, with something wrong with it."""
    value: Any = json.loads(json.dumps(metadata))
    if random.random() < 0.15:
        value = random.choice((None, [], {}, 5, "x", [metadata], {"outputs": ["buy"]}, {"version": "1"}))
    for _ in range(random.choice((1, 1, 2, 4))):
        value = damaged_json(value, random)
    text = json.dumps(value).encode()
    return mutated(text, random) if random.random() < 0.15 else text


class MisbehavingServer:
    """Listens while the block runs; each connection is served by a thread.

    Parameters
    ----------
    metadata : mapping
        What it says of its model when that is asked.
    answer : callable
        Given the body of a request, the right table.
    """

    def __init__(self, metadata: Mapping[str, Any], answer: Callable[[bytes], Table]) -> None:
        self.metadata = metadata
        self.description: bytes | None = None
        """What is said instead of ``metadata``; None: that."""
        self.describing: str | None = None
        """Kind of reply to the question what the model is; None: a right one."""
        self.seed, self.index = 0, 0
        """Of the next reply."""
        self.names: tuple[str, ...] = _NAMES
        self.advances = False
        """Whether each reply is the next index's; else its owner counts."""
        self.replies: dict[str, int] = {}
        """Kind -> how many were given."""
        self._answer = answer
        self._lock = threading.Lock()
        self._is_over = False

    def __enter__(self) -> "MisbehavingServer":
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._is_over:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(5.0)
            held = b""
            while not self._is_over:
                while (end := held.find(b"\r\n\r\n")) < 0:
                    if not (piece := connection.recv(65536)):
                        return
                    held += piece
                pairs = (line.partition(":") for line in held[:end].decode("latin-1").split("\r\n")[1:])
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                length = int(headers.get("content-length", 0))
                while len(held) < end + 4 + length:
                    if not (piece := connection.recv(65536)):
                        return
                    held += piece
                body, held = held[end + 4 : end + 4 + length], held[end + 4 + length :]
                if not _send(connection, self._reply(headers, body)):
                    return

    def _reply(self, headers: Mapping[str, str], body: bytes) -> Iterator[Piece]:
        request_id = headers.get(CLIENT_REQUEST_ID, "")
        if headers.get("describe") == "True":
            text = self.description or json.dumps(self.metadata).encode()
            question = Question(np.zeros((1, 3), np.float32), self.metadata, request_id)
            if self.describing is not None:
                return REPLIES[self.describing][2](question, Random(f"reply {self.seed} {self.index}"))
            return _whole(question, text, changes={"content-type": "application/json"})
        with self._lock:
            kind = reply_kind(self.seed, self.index, self.names)
            self.replies[kind] = self.replies.get(kind, 0) + 1
            random = Random(f"reply {self.seed} {self.index}")
            self.index += self.advances
        return REPLIES[kind][2](Question(self._answer(body), self.metadata, request_id), random)


def _send(connection: socket.socket, pieces: Iterator[Piece]) -> bool:
    """Send a reply; False where the connection has ended with it."""
    for piece in pieces:
        if piece is None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if isinstance(piece, float):
            time.sleep(piece)
        else:
            connection.sendall(piece)
    return True
