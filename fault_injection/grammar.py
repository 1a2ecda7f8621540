"""Requests as an attacker would write them, made from a seed and an index: the same two give the same bytes.

A kind of request is a function from a `Subject` and a random source to a `Draft`; `KINDS` weighs them by how often
they come. Most are built from a grammar of what HTTP, JSON, forms and the Open Inference Protocol allow, with one
thing wrong; the kind ``mutated`` changes bytes of good requests.
"""

import gzip
import json
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from fault_injection.nasty import NASTY_TEXTS, NASTY_VALUES, damaged_json, mutated
from fault_injection.samples import Sample, Subject
from wire.headers import CLIENT_REQUEST_ID, DEADLINE_NS, EXPLAIN_OUTPUT

Headers = tuple[tuple[bytes, bytes], ...]
_JSON: Headers = ((b"Content-Type", b"application/json"),)
_BINARY: Headers = ((b"Content-Type", b"application/octet-stream"),)
MOST_BODY = 4 << 20
"""``max_request_size`` of config.properties."""


@dataclass(frozen=True)
class Draft:
    """One request to be sent."""

    headers: Headers = ()
    body: bytes = b""
    method: bytes = b"POST"
    path: bytes = b""
    """Empty: the predictions of the model."""
    length: bytes | None = b""
    """Content-Length; empty: the body's; None: no such header."""
    refused: bool = False
    """Whether only a status 4xx (or 504) is right; else anything below 500 is."""
    explains: bool = False
    """Whether the explanations route is asked."""
    raw: bytes = b""
    """The whole request, instead of the fields above."""
    framing: bool = False
    """Whether the server may rightly read it as another number of requests, or wait for more: the connection goes."""
    delivery: str = "whole"
    """``whole``, ``pieces``, ``half``, ``abort`` or ``twice``."""
    sample: Sample | None = None
    """The good request that it is, with its answer."""


def encoded(draft: Draft, model: str, host: str, token: str | None, request_id: str = "") -> bytes:
    """The bytes of a request."""
    if draft.raw:
        return draft.raw.replace(b"{model}", model.encode()).replace(b"{token}", (token or "").encode())
    path = draft.path or f"/{'explanations' if draft.explains else 'predictions'}/{model}".encode()
    lines = [b"%s %s HTTP/1.1" % (draft.method, path.replace(b"{model}", model.encode())), b"Host: " + host.encode()]
    if token is not None and not any(name.lower() == b"authorization" for name, _ in draft.headers):
        lines.append(b"Authorization: Bearer " + token.encode())
    if request_id:
        lines.append(f"{CLIENT_REQUEST_ID}: {request_id}".encode())
    lines += [name + b": " + value for name, value in draft.headers]
    if draft.length is not None:
        lines.append(b"Content-Length: " + (draft.length or b"%d" % len(draft.body)))
    return b"\r\n".join(lines) + b"\r\n\r\n" + draft.body


def good(subject: Subject, random: Random) -> Draft:
    """A good request, in one of the forms of its body and of its answer."""
    sample = random.choice(subject.samples)
    accept = random.choice((b"application/octet-stream", b"application/octet-stream", b"application/json", b"*/*"))
    headers: Headers = ((b"Content-Type", sample.content_type.encode()), (b"Accept", accept))
    if random.random() < 0.2:
        headers += ((DEADLINE_NS.encode(), b"%d" % (time.time_ns() + 60_000_000_000)),)
    return Draft(headers, sample.body, sample=sample)


def _row(subject: Subject) -> list[Any]:
    row: Any = 0.5
    for size in reversed(subject.row_shape):
        row = [row] * size
    return row


def _json_draft(value: Any, refused: bool = False) -> Draft:
    return Draft(_JSON, value if isinstance(value, bytes) else json.dumps(value).encode(), refused=refused)


def _json_text(subject: Subject, random: Random) -> Draft:
    """Bytes that are no JSON, or hardly."""
    row = json.dumps([_row(subject)]).encode()
    texts: tuple[bytes, ...] = (
        b"", b"{", b"[", b"[[", b"]", b"nul", b"\xff\xfe[\x001\0]\0", b"\xef\xbb\xbf" + row, b"\0" * 30, row[:-1],
        row + row, row + b",", b"[" * random.choice((10, 500, 2000, 100_000)),
        b"[" * 3000 + b"]" * 3000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"'a'", b"[1,]", b"[01]", b"[1.]", b"[.5]",
        b"[+1]", b"[0x1]", b"// c\n" + row, b"[[\xc3\x28]]", b'["\xff"]', b'"\\ud800"', b"[NaN]", b"-Infinity",
        b"[[1e999,1,1,1]]", b"[[1" + b"0" * 5000 + b"]]", b"[[-" + b"9" * 400 + b",1,1,1]]",
        b"[[" + b"1" * 100_000 + b"]]", b"[[1e" + b"9" * 1000 + b"]]", b"1e5", b"true", b"null", b"{}", b"[]", b"[[]]",
    )
    return _json_draft(random.choice(texts))


def _json_values(subject: Subject, random: Random) -> Draft:
    """JSON of mixed types, odd numbers and odd objects."""
    row, odd = _row(subject), random.choice(NASTY_VALUES)
    values: tuple[Any, ...] = (
        odd, [odd], [[odd]], [row, odd], [row, [*row[:-1], odd]], [[*row[:-1], odd]], [[row]], [row[:-1]],
        {"instances": odd}, {"instances": [odd]}, {"instances": [row], "ts_event": odd}, {odd if isinstance(odd, str)
        else "x": [row]}, {"instances": [row], "inputs": [row]}, {"instances": [row], "body": odd}, [[True] * 4],
        {"instances": [row] * 3, "ts_event": [2**64, 1, 0.5]}, {"instances": [row], "ts_event": [[0]]},
        [row, [10**400] * len(row)], [[-0.0] * 4, row], {"data": odd}, {"body": [row]}, [[None] * 4], ["1.5"] * 4,
        [[2**63, 2**64, -(2**63), 1]], [[1e38 * 9.99, 1, 1, 1]], {"instances": {"0": row}}, [{"0": 1.0}] * 3,
    )
    return _json_draft(random.choice(values))


def _surrogates(subject: Subject, random: Random) -> Draft:
    """Lone surrogates and other texts wherever a text may be."""
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
    return _json_draft(body)


def _oip(subject: Subject, random: Random) -> Draft:
    """The Open Inference Protocol with one node damaged."""
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
    return _json_draft(body)


def _bomb(subject: Subject, random: Random) -> Draft:
    """Small bodies of which much is made: long texts among short ones, many keys, wide and deep lists."""
    count = random.choice((50, 500, 2000))
    length = random.choice((1000, 20_000, 100_000))
    values: tuple[Callable[[], Any], ...] = (
        lambda: ["a" * length, *["b"] * count],
        lambda: [["a" * length, *["b"] * count]] * 2,
        lambda: [[1.0, "a" * length, None, True]] * (count // 10),
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
    return _json_draft(random.choice(values)())


def _binary(subject: Subject, random: Random) -> Draft:
    """float32 of odd lengths and values."""
    width = 4
    for size in subject.row_shape:
        width *= size
    length = random.choice((0, 1, 3, width - 1, width + 1, 2 * width - 4, 7, 1000 * width + 2))
    odd = struct.pack("<f", random.choice((float("nan"), float("inf"), -float("inf"))))
    bodies = (b"\0" * length, random.randbytes(width * 2), odd * (width // 4), b"\xff" * width * 3, b"[[1,2,3,4]]")
    body = random.choice(bodies)
    return Draft(_BINARY, body)


def _content_type(subject: Subject, random: Random) -> Draft:
    """Content types that are none, or another's."""
    types = (
        b"text/plain", b"application/json;;;", b"application/json; charset=utf-16", b"application/xml", b"image/png",
        b"APPLICATION/JSON", b"application/octet-stream; x=y", b"", b" ", b";", b"/", b"*/*", b"a" * 7000, b"\xff\xfe",
        "é中".encode(), b"application/json, application/octet-stream", b"multipart/form-data", b"application/x-protobuf",
        b"multipart/form-data; boundary=", b"application/x-www-form-urlencoded; charset=nope", b"application/jso\0n",
        b"text/json", b"application/json\t;\tcharset=\"", b"text/csv",
    )
    sample = random.choice(subject.samples)
    headers: Headers = ((b"Content-Type", random.choice(types)),)
    if random.random() < 0.1:
        headers = ()
    if random.random() < 0.1:
        headers += ((b"content-type", random.choice(types)),)
    return Draft(headers, sample.body)


_HEADER_NAMES = (
    DEADLINE_NS.encode(), CLIENT_REQUEST_ID.encode(), b"Accept", b"body", b"data", b"context", b"explain", b"describe",
    EXPLAIN_OUTPUT.encode(), b"Content-Encoding", b"Content-Type", b"x-model-version", b"X-Request-ID", b"Cookie",
    b"Expect", b"Range", b"Upgrade", b"Connection", b"x-" + b"n" * 2000, b"kserve", b"ts-request-sequence-id",
    b"content-disposition", b"Authorization2", b"\xe4\xb8\xad", b"a b", b"handle", b"instances", b"inputs", b"__class__",
    b"Accept-Encoding", b"If-None-Match", b"X-HTTP-Method-Override", b"TE", b"Trailer", b"x_requestid", b"model_name",
)
_HEADER_VALUES = (
    b"9" * 5000, b"", b" ", b"x", b"-1", b"1.5", b"1e9", b"True", b"true", b"application/json", b"\xff\xfe", b"\xc2\xb2",
    "٣".encode(), b"{}", b"[]", b"None", b"a" * 7000, b"%s%n", b"${jndi:ldap://127.0.0.1:1/x}", b"../../etc/passwd",
    b"text/html", b"application/octet-stream", b"gzip", b"buy", b"nothing", b"100-continue", b"bytes=0-1", b"9" * 19,
    b"\x01\x02", b"*/*;q=nan", b"9223372036854775807", b"0", b"h2c", b"websocket", b"99999999999999999999", b"\xed\xa0\x80",
)


def _headers(subject: Subject, random: Random) -> Draft:
    """A good body with headers that are odd, many, or named like what the server keeps there."""
    draft = good(subject, random)
    extra: Headers = tuple(
        (random.choice(_HEADER_NAMES), random.choice(_HEADER_VALUES)) for _ in range(random.choice((1, 1, 1, 2, 3)))
    )
    chance = random.random()
    if chance < 0.05:
        extra = tuple((b"x-%d" % number, b"v") for number in range(random.choice((50, 150))))
    elif chance < 0.1:
        extra = ((DEADLINE_NS.encode(), b"1"), (DEADLINE_NS.encode(), b"9" * 19))
    return replace(draft, headers=draft.headers + extra, sample=None, framing=True)


def _deadlines(subject: Subject, random: Random) -> Draft:
    """Deadlines that have passed, or are none."""
    late = (b"0", b"1", b"%d" % (time.time_ns() - 1_000_000), b"-5", b"1e18", b"soon", "٣".encode(), b"\xc2\xb2",
            b"9" * 4301, b"9" * 5000, b"1" * 30, b"0x5", b"5 5", b"")
    draft = good(subject, random)
    value = random.choice(late)
    return replace(draft, headers=((b"Content-Type", draft.headers[0][1]), (DEADLINE_NS.encode(), value)), sample=None)


def _not_accepted(subject: Subject, random: Random) -> Draft:
    draft = good(subject, random)
    accept = random.choice((b"text/html", b"image/*", b"", b"application", b"json", b"\xff", b"a" * 3000, b"*"))
    return replace(draft, headers=(draft.headers[0], (b"Accept", accept)), sample=None)


def _paths(subject: Subject, random: Random) -> Draft:
    """Models, versions, routes and query strings that there are not."""
    model = subject.model.encode()
    paths = (
        b"/predictions/nothing", b"/predictions/" + model + b"/9.9", b"/predictions/", b"/predictions", b"/", b"//",
        b"/predictions/" + model + b"/1.0/x", b"/predictions/%00", b"/predictions/..%2f..%2fetc", b"/../../etc/passwd",
        b"/predictions/" + b"a" * 3000, b"/predictions/" + "中".encode(), b"/predictions/%zz", b"*", b"/models",
        b"/predictions/{model}?body=%5B%5B1%5D%5D", b"/predictions/{model}?data=1&x-deadline-ns=1",
        b"/predictions/{model}?x-deadline-ns=99", b"/predictions/{model}?" + b"a=b&" * 500, b"/predictions/{model}?%",
        b"/predictions/{model}?describe=True", b"/predictions/{model}?body=x&body=y", b"/invocations", b"/api-description",
        b"/models/{model}/invoke", b"/v1/models/{model}:predict", b"/v2/models/{model}/infer", b"/v2/health/live",
        b"/predictions/{model};a=b", b"/predictions/{model}#x", b"http://127.0.0.1:1/predictions/{model}", b"/ping",
        b"/workflows/{model}", b"/wfpredict/{model}", b"/metrics", b"/token?type=inference", b"/predictions//{model}",
    )
    sample = random.choice(subject.samples)
    return Draft(((b"Content-Type", sample.content_type.encode()),), sample.body, path=random.choice(paths))


def _methods(subject: Subject, random: Random) -> Draft:
    method = random.choice((b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"HEAD", b"CONNECT", b"post", b"X"))
    body = random.choice((b"", b"[[1,2,3,4]]"))
    return Draft(_JSON, body, method=method, framing=method in (b"HEAD", b"CONNECT", b"X", b"post", b"TRACE"))


def _tokens(subject: Subject, random: Random) -> Draft:
    sample = random.choice(subject.samples)
    token = random.choice((b"Bearer wrong", b"Bearer", b"", b"Basic YTpi", b"Bearer " + b"a" * 5000, b"Bearer \xff", b"x"))
    return Draft(((b"Authorization", token), (b"Content-Type", sample.content_type.encode())), sample.body)


def _multipart(subject: Subject, random: Random) -> Draft:
    """Multipart bodies: parts named like headers, broken boundaries, many parts."""
    boundary = random.choice((b"b", b"b" * 70, b"'b'", b"", b"b=b", b"\xff", b"--"))
    names = (b"body", b"data", b"x-deadline-ns", b"explain", b"describe", b"", b"a" * 500, b"content-type", b"\xe4", b"file",
             b"accept", b"x-client-request-id", b"host")
    parts = []
    for _ in range(random.choice((0, 1, 1, 2, 3, 40))):
        disposition = b'form-data; name="%s"' % random.choice(names)
        if random.random() < 0.3:
            disposition += b'; filename="%s"' % random.choice((b"a.json", b"../../x", b"", b"\0", b"a" * 300))
        if random.random() < 0.1:
            disposition = random.choice((b"form-data", b"attachment", b"", b'form-data; name=', b'form-data; name*=x'))
        kind = random.choice((b"application/json", b"text/plain", b"application/octet-stream", b"image/png", b"", b"x"))
        head = b"Content-Disposition: %s\r\nContent-Type: %s\r\n" % (disposition, kind)
        if random.random() < 0.1:
            head += random.choice((b"Content-Transfer-Encoding: x\r\n", b"Content-Length: -1\r\n", b": \r\n", b"no colon\r\n"))
        content = random.choice((b"[[1,2,3,4]]", b"1", b"", b"\0\0", b"[" * 200, b"--b--"))
        parts.append(b"--" + boundary + b"\r\n" + head + b"\r\n" + content + b"\r\n")
    ending = random.choice((b"--" + boundary + b"--\r\n", b"--" + boundary, b"", b"--x--"))
    kind = b"multipart/form-data; boundary=" + boundary
    if random.random() < 0.1:
        kind = random.choice((b"multipart/mixed; boundary=b", b"multipart/form-data", b"multipart/", kind + b"; charset=x"))
    return Draft(((b"Content-Type", kind),), b"".join(parts) + ending)


def _forms(subject: Subject, random: Random) -> Draft:
    """URL-encoded forms."""
    bodies = (
        b"body=%5B%5B1%2C2%2C3%2C4%5D%5D", b"a&" * random.choice((10, 1000, 5000)), b"=", b"&&&", b"%", b"%zz=%", b"a=%ff",
        b"x-deadline-ns=1", b"body", b"body=1&body=2", b"data=" + b"a" * 10_000, b"=" * 1000, b"a=b;c=d", b"\xff\xfe",
        b"describe=True&explain=True", b"body[]=1&body[a]=2", b"+++", b"%00=%00", b"body=" + b"%41" * 3000,
    )
    return Draft(((b"Content-Type", b"application/x-www-form-urlencoded"),), random.choice(bodies))


def _encodings(subject: Subject, random: Random) -> Draft:
    """Bodies that say they are compressed, and are, or are not, or are much when they are unpacked."""
    body = json.dumps([_row(subject)]).encode()
    packed = random.choice((gzip.compress(body), body, gzip.compress(b"[" * 1_000_000), b"\x1f\x8b", gzip.compress(body)[:-9]))
    encoding = random.choice((b"gzip", b"deflate", b"br", b"identity", b"gzip, gzip", b"x"))
    return Draft((*_JSON, (b"Content-Encoding", encoding)), packed)


def _framing(subject: Subject, random: Random) -> Draft:
    """Lengths, chunks and lines that HTTP does not allow."""
    body = json.dumps([_row(subject)]).encode()
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    lengths = (b"-1", b"abc", b"1, 1", b"99999999999999999999", b"0x10", b"%d" % (len(body) - 2), b" 5", b"5 5", b"+5")
    head = b"POST /predictions/{model} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    json_head = head + b"Content-Type: application/json\r\n"
    raws = (
        json_head + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunk,
        json_head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
        json_head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
        json_head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n" + body,
        json_head + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + chunk,
        json_head + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunk,
        json_head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body,
        json_head + b"x: " + b"a" * 70_000 + b"\r\n\r\n",
        json_head + b"no colon here\r\n\r\n",
        json_head + b" folded: yes\r\n\tmore\r\nContent-Length: 0\r\n\r\n",
        json_head + b"x\0y: z\r\nContent-Length: 0\r\n\r\n",
        head.replace(b"HTTP/1.1", b"HTTP/9.9") + b"Content-Length: 0\r\n\r\n",
        head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: 0\r\n\r\n",
        head.replace(b" HTTP/1.1", b"") + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\0" * 100 + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(200) + b"\r\n\r\n", b"a" * 9000 + b"\r\n\r\n",
        b"POST /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b"POST\r\n\r\n", b" \r\n\r\n", b"\n\n",
    )
    if random.random() < 0.4:
        return Draft(_JSON, body, length=random.choice(lengths), framing=True)
    return Draft(raw=random.choice(raws), framing=True)


def _too_large(subject: Subject, random: Random) -> Draft:
    """Beyond ``max_request_size``, or said to be."""
    if random.random() < 0.8:
        return Draft(_BINARY, b"\0" * 64, length=b"%d" % random.choice((MOST_BODY + 1, 2**31 - 1, 2**31, 2**40)), framing=True)
    return Draft(_BINARY, bytes(MOST_BODY + random.choice((1, 100_000))), framing=True)


def _large_answer(subject: Subject, random: Random) -> Draft:
    """Rows within ``max_request_size`` whose answer as JSON may be beyond ``max_response_size``."""
    width = 4
    for size in subject.row_shape:
        width *= size
    count = random.choice((MOST_BODY, MOST_BODY // 2, MOST_BODY // 4)) // width
    row = struct.pack("<f", 0.3) * (width // 4)
    return Draft((*_BINARY, (b"Accept", b"application/json")), row * count)


def _explanations(subject: Subject, random: Random) -> Draft:
    """Explanations, of a few rows or far too many, good and malformed."""
    chance = random.random()
    if chance < 0.5:
        draft = replace(good(subject, random), sample=None)
        if len(draft.body) > 600:
            draft = Draft(_JSON, json.dumps([_row(subject)]).encode())
    elif chance < 0.9:
        draft = random.choice((_json_values, _oip, _binary))(subject, random)
    else:
        draft = Draft(_JSON, json.dumps([_row(subject)] * random.choice((100, 1000, 10_000))).encode())
    headers = tuple(each for each in draft.headers if each[0] != b"Accept")
    if random.random() < 0.5:
        headers += ((EXPLAIN_OUTPUT.encode(), random.choice((b"buy", b"nothing", b"\xff", b"a" * 5000, b""))),)
    return replace(draft, headers=headers, explains=True)


def _described(subject: Subject, random: Random) -> Draft:
    """The header by which clients ask what a model is, with and without bodies."""
    value = random.choice((b"True", b"True", b"true", b"1", b""))
    return Draft(((b"describe", value),), random.choice((b"", b"x")), method=random.choice((b"GET", b"POST")))


def _mutated(subject: Subject, random: Random) -> Draft:
    """A good request, some of whose body's or head's bytes were changed."""
    draft = replace(good(subject, random), sample=None)
    if random.random() < 0.6:
        return replace(draft, body=mutated(draft.body[:2000], random))
    head = b"\r\n".join(name + b": " + value for name, value in draft.headers)
    head = mutated(head, random)
    raw = b"POST /predictions/{model} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n" + head
    raw += b"\r\nContent-Length: %d\r\n\r\n" % len(draft.body)
    return Draft(raw=raw + draft.body, framing=True)


def _broken_off(subject: Subject, random: Random) -> Draft:
    """A request that is not sent to its end, or whose answer is not waited for."""
    draft = replace(good(subject, random), sample=None, framing=True)
    return replace(draft, delivery=random.choice(("half", "abort", "abort")))


def _in_pieces(subject: Subject, random: Random) -> Draft:
    """A good request that comes in pieces; its answer counts like any other."""
    return replace(good(subject, random), delivery="pieces")


def _pipelined(subject: Subject, random: Random) -> Draft:
    """Two good requests at once on one connection."""
    return replace(good(subject, random), delivery="twice", sample=None, framing=True)


KINDS: Mapping[str, tuple[float, Callable[[Subject, Random], Draft]]] = {
    "json text": (10, _json_text), "json values": (14, _json_values), "surrogates": (8, _surrogates), "oip": (12, _oip),
    "bomb": (1.5, _bomb), "binary": (10, _binary), "content type": (8, _content_type), "headers": (14, _headers),
    "deadline": (8, _deadlines), "accept": (3, _not_accepted), "path": (8, _paths), "method": (3, _methods),
    "token": (3, _tokens), "multipart": (8, _multipart), "form": (5, _forms), "encoding": (2, _encodings),
    "framing": (6, _framing), "too large": (1, _too_large), "large answer": (0.08, _large_answer),
    "explanation": (3, _explanations), "describe": (2, _described), "mutated": (16, _mutated),
    "broken off": (5, _broken_off), "pieces": (2, _in_pieces), "pipelined": (2, _pipelined),
}
"""Kind -> how often it comes among malformed requests, and what makes one."""
_NAMES, _WEIGHTS = tuple(KINDS), tuple(weight for weight, _ in KINDS.values())
GOOD_SHARE = 0.5


def make_case(subject: Subject, seed: int, index: int) -> tuple[str, Draft, bool]:
    """Kind, request, and whether it goes to the batched registration, of one index of a seed."""
    random = Random(seed << 32 | index)
    batched = random.random() < 0.7
    if random.random() < GOOD_SHARE:
        return "good", good(subject, random), batched
    (kind,) = random.choices(_NAMES, _WEIGHTS)
    return kind, KINDS[kind][1](subject, random), batched
