"""Requests that no client of ours sends, drawn from a seed: headers, parts, JSON of any shape and content."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from worker_frames import Sent

BINARY, JSON = "application/octet-stream", "application/json"
DIGITS = "9" * 5000
MARK = "Q"
"""Long runs of it are hidden in values: an answer that quotes more than 200 of them quotes too much."""
LONG = MARK * 3000
TEXTS = (
    "",
    "a",
    "0",
    "None",
    "True",
    "1.5",
    "NaN",
    "-1",
    "é",
    "ﷺ" * 40,
    "\x00",
    "\u200b",
    "\U0001f680",
    "\ud800",
    "\udfff",
    LONG,
    DIGITS,
    "[1,2,3,4]",
    "٣٤",
    "a" * 201,
    "/etc/passwd",
    "%s%n{}",
    "[METRICS]x:1",
    "line\nline",
    "body",
)
LEAVES: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    1.5,
    -0.0,
    1e-45,
    3.5e38,
    1e308,
    2**53 + 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [[1, 2, 3, 4]],
    [1, 2, 3, 4],
)
KEYS = (
    "instances",
    "inputs",
    "name",
    "shape",
    "datatype",
    "data",
    "id",
    "ts_event",
    "window",
    "texts",
    "ages_s",
    "text_counts",
    "parameters",
    "\ud800",
    LONG,
    "body",
)
NAMES = (
    "body",
    "data",
    "describe",
    "explain",
    "Explain",
    "DESCRIBE",
    "x-explain-output",
    "x-deadline-ns",
    "X-Deadline-Ns",
    "accept",
    "Accept",
    "content-type",
    "Content-Type",
    "x-client-request-id",
    "X-Client-Request-Id",
    "instances",
    "model_name",
    "ts_stream_next",
    "x-request-id",
    "content-length",
    "url_path",
    "é",
    "",
)
TYPES = (
    JSON,
    BINARY,
    "",
    "text/plain",
    "text/html",
    "multipart/form-data; boundary=x",
    "application/json; charset=x",
    "application/x-www-form-urlencoded",
    "APPLICATION/JSON",
    LONG,
    "image/png",
    ";",
    "application/json,text/csv",
)


def hostile_request(random: Random, good: Sequence[bytes]) -> Sent:
    """Return one request, of whatever kind; it may happen to be a good one."""
    headers = [(random.choice(NAMES), _header(random)) for _ in range(random.choice((0, 0, 0, 0, 1, 2, 5, 30)))]
    kind = random.choice(TYPES) if random.random() < 0.3 else JSON
    if random.random() < 0.15:
        kind = BINARY
    names = ["body"] if random.random() < 0.8 else random.sample(NAMES, random.randint(0, 6))
    parts = [(name, kind, _body(random, good, kind)) for name in names]
    return Sent(parts, [*headers, ("Content-Type", kind)])


def _header(random: Random) -> str:
    pool = (*TEXTS, *TYPES, "*/*", "text/xml", "True", "buy", "score", "1" * 19, "2" * 18)
    return random.choice(pool).replace("\n", "")


def _body(random: Random, good: Sequence[bytes], kind: str) -> bytes:
    if kind == BINARY:
        return random.randbytes(random.choice((0, 1, 15, 16, 64, 160)))
    draw = random.random()
    if draw < 0.2:
        return _damaged(random, random.choice(good))
    if draw < 0.3:
        return random.choice(
            (
                b"[" * 3000,
                b'{"a":' * 3000,
                b'{"instances":' * 500,
                b"[" * 900 + b"]" * 900,
                b"",
                b"\xff",
                b"[" + DIGITS.encode() + b"]",
                b"[[1,2,3," + DIGITS.encode() + b"]]",
                b"[NaN," * 400,
                b"[[1,2,3,NaN," + DIGITS.encode() + b"]]",
            )
        )
    return json.dumps(_value(random, 0)).encode(errors="replace")


def _damaged(random: Random, body: bytes) -> bytes:
    damaged = bytearray(body)
    for _ in range(random.randint(1, 4)):
        damaged[random.randrange(len(damaged))] = random.choice(b'[]{},:"\\0eE.-+tfnu \x00\xff')
    return bytes(damaged)


def _value(random: Random, depth: int) -> Any:
    draw = random.random()
    if depth > 3 or draw < 0.25:
        return random.choice(TEXTS) if random.random() < 0.5 else random.choice(LEAVES)
    if draw < 0.5:
        return [_value(random, depth + 1) for _ in range(random.choice((1, 1, 2, 4, 4)))]
    if draw < 0.75:
        return {random.choice(KEYS): _value(random, depth + 1) for _ in range(random.randint(1, 4))}
    return _protocol(random, depth)


def _protocol(random: Random, depth: int) -> dict[str, Any]:
    """The Open Inference Protocol's form, with what does not belong in some of its places."""

    def either(usual: object) -> object:
        return usual if random.random() < 0.7 else _value(random, depth + 1)

    tensor = {
        "name": either(random.choice(("rows", "window", "texts", "text_counts", "ages_s"))),
        "shape": either(random.choice(([1, 4], [4], [1], [2**62, 4], [0, 4], [1] * 200, [2**31 - 1, 4]))),
        "datatype": either(random.choice(("FP32", "BYTES", "INT64", "BOOL"))),
        "data": either(random.choice(([1, 2, 3, 4], [[1, 2, 3, 4]], ["Profit rose"], [1], []))),
    }
    body: dict[str, Any] = {"inputs": either([tensor] * random.choice((1, 1, 1, 2)))}
    if random.random() < 0.3:
        body["id"] = random.choice(TEXTS)
    return body
