"""Replies to a prediction request, generated from a seed and an index: correct ones, and every way of being wrong.

A reply is judged by what a client may make of it: the exact bits that the model gives to the request's rows, or an
error.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fault_injection.misbehaving_server import End, Piece
from fault_injection.nasty import NASTY_TEXTS, NASTY_VALUES, damaged_json, mutated
from nautilus_torchserve.wire.headers import ARCHIVE_DIGEST, CLIENT_REQUEST_ID, FEATURE_SCHEMA, MODEL_VERSION

Headers = Mapping[str, str | None]
Table = NDArray[np.float32]
_HUGE = 20_000_000
_BLOCK = b"x" * 65536
_BOMB = gzip.compress(bytes(_HUGE), mtime=0)


@dataclass(frozen=True)
class CorrectResponse:
    """The correct response to a request."""

    table: Table
    """float32 [n, outputs]."""
    metadata: Mapping[str, Any]
    request_id: str
    """Empty where the client sent none."""

    def head(self, length: int, status: str = "200 OK", changes: Headers | None = None) -> bytes:
        """Return the head, with changes; None leaves a header out."""
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

    def encode(self) -> bytes:
        """Return the whole response."""
        body = self.table.tobytes()
        return self.head(len(body)) + body


def whole(
    correct: CorrectResponse, body: bytes, status: str = "200 OK", changes: Headers | None = None
) -> Iterator[Piece]:
    yield correct.head(len(body), status, changes)
    yield body


def _correct(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    yield correct.encode()


def _values(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a response of numbers that are no probabilities."""
    table = correct.table.copy()
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
    yield from whole(correct, table.astype(np.float32).tobytes())


def _length(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield another number of bytes than the rows need."""
    body = correct.table.tobytes()
    yield from whole(
        correct, random.choice((b"", body[:-1], body[:-4], body + b"\0" * 4, body * 2, body[:3], body + body[:12]))
    )


def _content_type(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield as many bytes as the rows need, of another content type."""
    size = correct.table.nbytes
    kind = random.choice(
        ("text/html", "application/json", "text/plain; charset=utf-8", "", None, "image/png", "\udcff")
    )
    body = (b"<html>gateway" * (size // 13 + 1))[:size] if random.random() < 0.5 else correct.table.tobytes()
    yield from whole(correct, body, changes={"content-type": kind})


def _headers(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a correct body under headers that lack, repeat or spoil something."""
    name = random.choice((MODEL_VERSION, ARCHIVE_DIGEST, FEATURE_SCHEMA, CLIENT_REQUEST_ID))
    value = random.choice((None, "", " ", "\udcff\udcfe", "a" * 20_000, "\x01", *NASTY_TEXTS[:12], "another-request"))
    yield from whole(correct, correct.table.tobytes(), changes={name: value})


def _status(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield another status over a correct body."""
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
    yield from whole(correct, correct.table.tobytes(), status, {"location": location})


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


def _error_body(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield an error's status with a body of any kind."""
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
    yield from whole(correct, random.choice(bodies), status, {"content-type": "application/json"})


def _huge(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a response of excessive size."""
    way = random.randrange(5)
    if way == 0:  # an error text
        yield correct.head(_HUGE, random.choice(("500 x", "400 x")), {"content-type": "text/plain"})
        yield from (_BLOCK for _ in range(_HUGE // len(_BLOCK)))
    elif way == 1:  # a response
        yield correct.head(10 * _HUGE)
        yield from (_BLOCK for _ in range(10 * _HUGE // len(_BLOCK)))
    elif way == 2:  # headers without an end
        yield b"HTTP/1.1 200 OK\r\n"
        yield from (b"x-%d: %s\r\n" % (number, b"a" * 60_000) for number in range(2000))
    elif way == 3:  # chunks without an end
        yield correct.head(0, changes={"content-length": None, "transfer-encoding": "chunked"})
        yield from (b"10000\r\n" + _BLOCK + b"\r\n" for _ in range(10 * _HUGE // len(_BLOCK)))
    else:  # no length at all
        yield correct.head(0, changes={"content-length": None})
        yield from (_BLOCK for _ in range(10 * _HUGE // len(_BLOCK)))
    yield End.RESET


def _framing(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a response whose lengths or chunks are wrong."""
    body = correct.table.tobytes()
    length = random.choice(("-1", "x", str(len(body) + 12), str(10**15), "9" * 30, "1,1", None))
    chunked = random.choice((None, "chunked", "gzip, chunked", "identity"))
    yield correct.head(0, changes={"content-length": length, "transfer-encoding": chunked})
    yield random.choice((body, b"zz\r\n" + body, b"c\r\n" + body[:12] + b"\r\n0\r\n\r\n", b""))
    if random.random() < 0.5:
        yield End.RESET


def _second_response(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a correct response, and after it another to no request."""
    yield correct.encode()
    yield random.choice((0.0, 0.002))
    other = np.roll(correct.table, 1, axis=1)
    headers: Headers = {} if random.random() < 0.5 else {CLIENT_REQUEST_ID: random.choice((None, "old"))}
    yield correct.head(other.nbytes, changes=headers) + other.tobytes()


def _stale(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a whole response to the request before this one."""
    other = np.roll(correct.table, 1, axis=1)
    headers = {CLIENT_REQUEST_ID: random.choice((None, "of-another-request"))}
    yield correct.head(other.nbytes, changes=headers) + other.tobytes()


def _late(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a correct response that comes when the client has given up, for the next request to find."""
    yield 0.35
    yield correct.encode()


def _drip(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a correct response byte by byte."""
    for at, byte in enumerate(correct.encode()):
        yield bytes([byte])
        if at % 8 == 0:
            yield 0.01


def _reset(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """End the connection within the response, or before it."""
    response = correct.encode()
    yield response[: random.randrange(len(response) + 1)]
    yield End.RESET


def _garbage(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield bytes of another protocol."""
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
    yield End.RESET


def _compressed(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a response that claims to be compressed, and is, or is not."""
    body = correct.table.tobytes()
    packed = random.choice((gzip.compress(body, mtime=0), body, _BOMB, b"\x1f\x8b\x08" + body))
    yield from whole(correct, packed, changes={"content-encoding": random.choice(("gzip", "deflate", "br", "x"))})


def _mutated_head(correct: CorrectResponse, random: Random) -> Iterator[Piece]:
    """Yield a correct response, some of whose head's bytes are changed."""
    body = correct.table.tobytes()
    yield mutated(correct.head(len(body))[:-4], random, most=2) + b"\r\n\r\n" + body
    if random.random() < 0.5:
        yield End.RESET


REPLIES: Mapping[str, tuple[float, bool, Callable[[CorrectResponse, Random], Iterator[Piece]]]] = {
    "right": (6, True, _correct),
    "values": (14, False, _values),
    "length": (6, False, _length),
    "content type": (6, False, _content_type),
    "headers": (10, True, _headers),
    "status": (8, False, _status),
    "error body": (14, False, _error_body),
    "huge": (2, False, _huge),
    "framing": (8, True, _framing),
    "second answer": (6, True, _second_response),
    "stale": (4, False, _stale),
    "late": (2, True, _late),
    "drip": (2, True, _drip),
    "reset": (6, True, _reset),
    "garbage": (5, False, _garbage),
    "compressed": (3, True, _compressed),
    "mutated head": (10, True, _mutated_head),
}
"""Kind -> how often it comes, whether a client may take the correct bits from it, and its generator."""
NAMES = tuple(REPLIES)
GARBAGE = tuple(name for name, (_, may_be_right, _) in REPLIES.items() if not may_be_right)
"""Kinds that no client may take for a correct response."""


def reply_kind(seed: int, index: int, names: tuple[str, ...] = NAMES) -> str:
    """Return the kind of an index of a seed."""
    return Random(f"kind {seed} {index}").choices(names, [REPLIES[name][0] for name in names])[0]


def damaged_description(metadata: Mapping[str, Any], random: Random) -> bytes:
    """Return a model's metadata with something wrong with it."""
    value: Any = json.loads(json.dumps(metadata))
    if random.random() < 0.15:
        value = random.choice((None, [], {}, 5, "x", [metadata], {"outputs": ["buy"]}, {"version": "1"}))
    for _ in range(random.choice((1, 1, 2, 4))):
        value = damaged_json(value, random)
    text = json.dumps(value).encode()
    return mutated(text, random) if random.random() < 0.15 else text


def reply(kind: str, correct: CorrectResponse, seed: int, index: int) -> Iterator[Piece]:
    """Yield the reply that an index of a seed is, of a kind."""
    return REPLIES[kind][2](correct, Random(f"reply {seed} {index}"))
