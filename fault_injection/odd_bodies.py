"""Requests whose body is malformed: JSON, the Open Inference Protocol, float32, multipart, forms, compressed."""

import gzip
import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from fault_injection.drafts import BINARY_TYPE, JSON_TYPE, MOST_BODY, Draft
from fault_injection.nasty import NASTY_TEXTS, NASTY_VALUES, damaged_json
from fault_injection.samples import Subject


def row_of(subject: Subject) -> list[Any]:
    row: Any = 0.5
    for size in reversed(subject.row_shape):
        row = [row] * size
    return row


def json_draft(value: Any, refused: bool = False) -> Draft:
    return Draft(JSON_TYPE, value if isinstance(value, bytes) else json.dumps(value).encode(), refused=refused)


def json_text(subject: Subject, random: Random) -> Draft:
    """Return bytes that are no JSON, or hardly."""
    row = json.dumps([row_of(subject)]).encode()
    texts: tuple[bytes, ...] = (
        b"",
        b"{",
        b"[",
        b"[[",
        b"]",
        b"nul",
        b"\xff\xfe[\x001\0]\0",
        b"\xef\xbb\xbf" + row,
        b"\0" * 30,
        row[:-1],
        row + row,
        row + b",",
        b"[" * random.choice((10, 500, 2000, 100_000)),
        b"[" * 3000 + b"]" * 3000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"'a'",
        b"[1,]",
        b"[01]",
        b"[1.]",
        b"[.5]",
        b"[+1]",
        b"[0x1]",
        b"// c\n" + row,
        b"[[\xc3\x28]]",
        b'["\xff"]',
        b'"\\ud800"',
        b"[NaN]",
        b"-Infinity",
        b"[[1e999,1,1,1]]",
        b"[[1" + b"0" * 5000 + b"]]",
        b"[[-" + b"9" * 400 + b",1,1,1]]",
        b"[[" + b"1" * 100_000 + b"]]",
        b"[[1e" + b"9" * 1000 + b"]]",
        b"1e5",
        b"true",
        b"null",
        b"{}",
        b"[]",
        b"[[]]",
    )
    return json_draft(random.choice(texts))


def json_values(subject: Subject, random: Random) -> Draft:
    """Return JSON of mixed types, odd numbers and odd objects."""
    row, odd = row_of(subject), random.choice(NASTY_VALUES)
    values: tuple[Any, ...] = (
        odd,
        [odd],
        [[odd]],
        [row, odd],
        [row, [*row[:-1], odd]],
        [[*row[:-1], odd]],
        [[row]],
        [row[:-1]],
        {"instances": odd},
        {"instances": [odd]},
        {"instances": [row], "ts_event": odd},
        {odd if isinstance(odd, str) else "x": [row]},
        {"instances": [row], "inputs": [row]},
        {"instances": [row], "body": odd},
        [[True] * 4],
        {"instances": [row] * 3, "ts_event": [2**64, 1, 0.5]},
        {"instances": [row], "ts_event": [[0]]},
        [row, [10**400] * len(row)],
        [[-0.0] * 4, row],
        {"data": odd},
        {"body": [row]},
        [[None] * 4],
        ["1.5"] * 4,
        [[2**63, 2**64, -(2**63), 1]],
        [[1e38 * 9.99, 1, 1, 1]],
        {"instances": {"0": row}},
        [{"0": 1.0}] * 3,
    )
    return json_draft(random.choice(values))


def surrogates(subject: Subject, random: Random) -> Draft:
    """Return lone surrogates and other texts wherever a text may be."""
    text = random.choice(("\ud800", "\udfff\ud800", "a\ud800", "\0", "\U0010ffff", *NASTY_TEXTS))
    tensor = {"name": "a", "shape": [1, *subject.row_shape], "datatype": "FP32", "data": [0.5] * 4}
    body: Any = {"id": "x", "inputs": [tensor]}
    where = random.choice(("id", "name", "datatype", "shape", "data", "key", "parameters", "instances", "list"))
    if where == "id":
        body["id"] = text
    elif where in tensor:
        tensor[where] = random.choice((text, [text])) if where in ("shape", "data") else text
    elif where == "key":
        body = {text: body["inputs"]}
    elif where == "parameters":
        body["parameters"] = {text: text}
    else:
        body = {"instances": [text]} if where == "instances" else [text]
    return json_draft(body)


def oip(subject: Subject, random: Random) -> Draft:
    """Return a body of the Open Inference Protocol with one node damaged."""
    size = random.choice((1, 2))
    data: list[Any] = [0.5] * size
    for step in subject.row_shape:
        data = data * step
    tensor: dict[str, Any] = {"name": "a", "shape": [size, *subject.row_shape], "datatype": "FP32", "data": data}
    body: Any = {"id": "q", "inputs": [tensor], "outputs": [{"name": "buy"}], "parameters": {"binary_data": True}}
    for _ in range(random.choice((1, 1, 2))):
        body = damaged_json(body, random)
    if random.random() < 0.3:
        tensor["shape"] = random.choice(
            ([-1, 4], [2**62, 4], [0, 4], [4], [], [[1, 4]], [1.0, 4], [10**30, 4], [1] * 100, [2**31, 2**31])
        )
        body = {"inputs": [tensor] * random.choice((1, 1, 2, 200))}
    return json_draft(body)


def bomb(subject: Subject, random: Random) -> Draft:
    """Return small bodies of which much is made: long texts among short ones, many keys, wide and deep lists."""
    count = random.choice((50, 500, 2000))
    length = random.choice((1000, 20_000, 100_000))
    values: tuple[Callable[[], Any], ...] = (
        lambda: ["a" * length, *["b"] * count],
        lambda: [["a" * length, *["b"] * count]] * 2,
        lambda: [[1.0, "a" * length, None, True]] * min(count, 500_000 // length),
        lambda: {"instances": ["é" * length, *["b"] * count]},
        lambda: {"inputs": [{"name": "a" * length, "shape": [count], "datatype": "BYTES", "data": ["b"] * count}]},
        lambda: {f"key {number}": "v" for number in range(count * 5)},
        lambda: {"a" * length: 1, "b" * length: 2},
        lambda: [[1] * count] * 50,
        lambda: [{}] * count * 5,
        lambda: [[[]] * count] * 5,
        lambda: [10**300] * count,
        lambda: [[0.5] * 4] * count + ["a" * length],
    )
    return json_draft(random.choice(values)())


def binary(subject: Subject, random: Random) -> Draft:
    """Return a binary body of float32 of odd lengths and values."""
    width = 4
    for size in subject.row_shape:
        width *= size
    length = random.choice((0, 1, 3, width - 1, width + 1, 2 * width - 4, 7, 1000 * width + 2))
    odd = struct.pack("<f", random.choice((float("nan"), float("inf"), -float("inf"))))
    bodies = (b"\0" * length, random.randbytes(width * 2), odd * (width // 4), b"\xff" * width * 3, b"[[1,2,3,4]]")
    body = random.choice(bodies)
    return Draft(BINARY_TYPE, body)


def multipart(subject: Subject, random: Random) -> Draft:
    """Return multipart bodies: parts named like headers, broken boundaries, many parts."""
    boundary = random.choice((b"b", b"b" * 70, b"'b'", b"", b"b=b", b"\xff", b"--"))
    names = (
        b"body",
        b"data",
        b"x-deadline-ns",
        b"explain",
        b"describe",
        b"",
        b"a" * 500,
        b"content-type",
        b"\xe4",
        b"file",
        b"accept",
        b"x-client-request-id",
        b"host",
    )
    parts = []
    for _ in range(random.choice((0, 1, 1, 2, 3, 40))):
        disposition = b'form-data; name="%s"' % random.choice(names)
        if random.random() < 0.3:
            disposition += b'; filename="%s"' % random.choice((b"a.json", b"../../x", b"", b"\0", b"a" * 300))
        if random.random() < 0.1:
            disposition = random.choice((b"form-data", b"attachment", b"", b"form-data; name=", b"form-data; name*=x"))
        kind = random.choice((b"application/json", b"text/plain", b"application/octet-stream", b"image/png", b"", b"x"))
        head = b"Content-Disposition: %s\r\nContent-Type: %s\r\n" % (disposition, kind)
        if random.random() < 0.1:
            head += random.choice(
                (b"Content-Transfer-Encoding: x\r\n", b"Content-Length: -1\r\n", b": \r\n", b"no colon\r\n")
            )
        content = random.choice((b"[[1,2,3,4]]", b"1", b"", b"\0\0", b"[" * 200, b"--b--"))
        parts.append(b"--" + boundary + b"\r\n" + head + b"\r\n" + content + b"\r\n")
    ending = random.choice((b"--" + boundary + b"--\r\n", b"--" + boundary, b"", b"--x--"))
    kind = b"multipart/form-data; boundary=" + boundary
    if random.random() < 0.1:
        kind = random.choice(
            (b"multipart/mixed; boundary=b", b"multipart/form-data", b"multipart/", kind + b"; charset=x")
        )
    return Draft(((b"Content-Type", kind),), b"".join(parts) + ending)


def forms(subject: Subject, random: Random) -> Draft:
    """Return URL-encoded forms."""
    bodies = (
        b"body=%5B%5B1%2C2%2C3%2C4%5D%5D",
        b"a&" * random.choice((10, 1000, 5000)),
        b"=",
        b"&&&",
        b"%",
        b"%zz=%",
        b"a=%ff",
        b"x-deadline-ns=1",
        b"body",
        b"body=1&body=2",
        b"data=" + b"a" * 10_000,
        b"=" * 1000,
        b"a=b;c=d",
        b"\xff\xfe",
        b"describe=True&explain=True",
        b"body[]=1&body[a]=2",
        b"+++",
        b"%00=%00",
        b"body=" + b"%41" * 3000,
    )
    return Draft(((b"Content-Type", b"application/x-www-form-urlencoded"),), random.choice(bodies))


def encodings(subject: Subject, random: Random) -> Draft:
    """Return bodies that claim to be compressed, and are, or are not, or are much when they are unpacked."""
    body = json.dumps([row_of(subject)]).encode()
    packed = random.choice(
        (
            gzip.compress(body, mtime=0),
            body,
            gzip.compress(b"[" * 1_000_000, mtime=0),
            b"\x1f\x8b",
            gzip.compress(body, mtime=0)[:-9],
        )
    )
    encoding = random.choice((b"gzip", b"deflate", b"br", b"identity", b"gzip, gzip", b"x"))
    return Draft((*JSON_TYPE, (b"Content-Encoding", encoding)), packed)


def large_answer(subject: Subject, random: Random) -> Draft:
    """Return a body of rows within ``max_request_size`` whose answer as JSON may be beyond ``max_response_size``."""
    width = 4
    for size in subject.row_shape:
        width *= size
    count = random.choice((MOST_BODY, MOST_BODY // 2, MOST_BODY // 4)) // width
    row = struct.pack("<f", 0.3) * (width // 4)
    return Draft((*BINARY_TYPE, (b"Accept", b"application/json")), row * count)
