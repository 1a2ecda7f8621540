"""Requests whose head is malformed: content types, headers, deadlines, paths, methods, tokens, lengths and chunks."""

import json
from dataclasses import replace
from random import Random

from fault_injection.drafts import BINARY_TYPE, JSON_TYPE, MOST_BODY, Draft, Headers, good
from fault_injection.odd_bodies import row_of
from fault_injection.samples import Subject
from nautilus_torchserve.wire.headers import CLIENT_REQUEST_ID, DEADLINE_NS, EXPLAIN_OUTPUT


def content_type(subject: Subject, random: Random) -> Draft:
    """Return invalid content types, or those of another body."""
    types = (
        b"text/plain",
        b"application/json;;;",
        b"application/json; charset=utf-16",
        b"application/xml",
        b"image/png",
        b"APPLICATION/JSON",
        b"application/octet-stream; x=y",
        b"",
        b" ",
        b";",
        b"/",
        b"*/*",
        b"a" * 7000,
        b"\xff\xfe",
        "é中".encode(),
        b"application/json, application/octet-stream",
        b"multipart/form-data",
        b"x/y",
        b"multipart/form-data; boundary=",
        b"application/x-www-form-urlencoded; charset=nope",
        b"application/jso\0n",
        b"text/json",
        b'application/json\t;\tcharset="',
    )
    sample = random.choice(subject.samples)
    headers: Headers = ((b"Content-Type", random.choice(types)),)
    if random.random() < 0.1:
        headers = ()
    if random.random() < 0.1:
        headers += ((b"content-type", random.choice(types)),)
    return Draft(headers, sample.body)


_HEADER_NAMES = (
    DEADLINE_NS.encode(),
    CLIENT_REQUEST_ID.encode(),
    b"Accept",
    b"body",
    b"data",
    b"context",
    b"explain",
    b"describe",
    EXPLAIN_OUTPUT.encode(),
    b"Content-Encoding",
    b"Content-Type",
    b"x-model-version",
    b"X-Request-ID",
    b"Cookie",
    b"Expect",
    b"Range",
    b"Upgrade",
    b"Connection",
    b"x-" + b"n" * 2000,
    b"kserve",
    b"ts-request-sequence-id",
    b"content-disposition",
    b"Authorization2",
    b"\xe4\xb8\xad",
    b"a b",
    b"handle",
    b"instances",
    b"inputs",
    b"__class__",
    b"Accept-Encoding",
    b"If-None-Match",
    b"X-HTTP-Method-Override",
    b"TE",
    b"Trailer",
    b"x_requestid",
    b"model_name",
)
_HEADER_VALUES = (
    b"9" * 5000,
    b"",
    b" ",
    b"x",
    b"-1",
    b"1.5",
    b"1e9",
    b"True",
    b"true",
    b"application/json",
    b"\xff\xfe",
    b"\xc2\xb2",
    "٣".encode(),
    b"{}",
    b"[]",
    b"None",
    b"a" * 7000,
    b"%s%n",
    b"${jndi:ldap://127.0.0.1:1/x}",
    b"../../etc/passwd",
    b"text/html",
    b"application/octet-stream",
    b"gzip",
    b"buy",
    b"nothing",
    b"100-continue",
    b"bytes=0-1",
    b"9" * 19,
    b"\x01\x02",
    b"*/*;q=nan",
    b"9223372036854775807",
    b"0",
    b"h2c",
    b"websocket",
    b"99999999999999999999",
    b"\xed\xa0\x80",
)


def odd_headers(subject: Subject, random: Random) -> Draft:
    """Return a good body with headers that are odd, many, or named like what the server keeps there."""
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


def deadlines(subject: Subject, random: Random) -> Draft:
    """Return a good body with a deadline that has passed, or is none."""
    late = (
        b"0",
        b"1",
        b"1600000000000000000",
        b"-5",
        b"1e18",
        b"soon",
        "٣".encode(),
        b"\xc2\xb2",
        b"9" * 4301,
        b"9" * 5000,
        b"1" * 30,
        b"0x5",
        b"5 5",
        b"",
    )
    draft = good(subject, random)
    value = random.choice(late)
    return replace(draft, headers=((b"Content-Type", draft.headers[0][1]), (DEADLINE_NS.encode(), value)), sample=None)


def not_accepted(subject: Subject, random: Random) -> Draft:
    draft = good(subject, random)
    accept = random.choice((b"text/html", b"image/*", b"", b"application", b"json", b"\xff", b"a" * 3000, b"*"))
    return replace(draft, headers=(draft.headers[0], (b"Accept", accept)), sample=None)


def paths(subject: Subject, random: Random) -> Draft:
    """Return a request to a model, version, route or query string that does not exist."""
    model = subject.model.encode()
    paths = (
        b"/predictions/nothing",
        b"/predictions/" + model + b"/9.9",
        b"/predictions/",
        b"/predictions",
        b"/",
        b"//",
        b"/predictions/" + model + b"/1.0/x",
        b"/predictions/%00",
        b"/predictions/..%2f..%2fetc",
        b"/../../etc/passwd",
        b"/predictions/" + b"a" * 3000,
        b"/predictions/" + "中".encode(),
        b"/predictions/%zz",
        b"*",
        b"/models",
        b"/predictions/{model}?body=%5B%5B1%5D%5D",
        b"/predictions/{model}?data=1&x-deadline-ns=1",
        b"/predictions/{model}?x-deadline-ns=99",
        b"/predictions/{model}?" + b"a=b&" * 500,
        b"/predictions/{model}?%",
        b"/predictions/{model}?describe=True",
        b"/predictions/{model}?body=x&body=y",
        b"/invocations",
        b"/api-description",
        b"/models/{model}/invoke",
        b"/v1/models/{model}:predict",
        b"/v2/models/{model}/infer",
        b"/v2/health/live",
        b"/predictions/{model};a=b",
        b"/predictions/{model}#x",
        b"http://127.0.0.1:1/predictions/{model}",
        b"/ping",
        b"/workflows/{model}",
        b"/wfpredict/{model}",
        b"/metrics",
        b"/token?type=inference",
        b"/predictions//{model}",
    )
    sample = random.choice(subject.samples)
    return Draft(((b"Content-Type", sample.content_type.encode()),), sample.body, path=random.choice(paths))


def methods(subject: Subject, random: Random) -> Draft:
    method = random.choice(
        (b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"HEAD", b"CONNECT", b"post", b"X")
    )
    body = random.choice((b"", b"[[1,2,3,4]]"))
    return Draft(JSON_TYPE, body, method=method, framing=method in (b"HEAD", b"CONNECT", b"X", b"post", b"TRACE"))


def tokens(subject: Subject, random: Random) -> Draft:
    sample = random.choice(subject.samples)
    token = random.choice(
        (b"Bearer wrong", b"Bearer", b"", b"Basic YTpi", b"Bearer " + b"a" * 5000, b"Bearer \xff", b"x")
    )
    return Draft(((b"Authorization", token), (b"Content-Type", sample.content_type.encode())), sample.body)


def framing(subject: Subject, random: Random) -> Draft:
    """Return a request with lengths, chunks or lines that HTTP does not allow."""
    body = json.dumps([row_of(subject)]).encode()
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
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(200) + b"\r\n\r\n",
        b"a" * 9000 + b"\r\n\r\n",
        b"POST /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"POST\r\n\r\n",
        b" \r\n\r\n",
        b"\n\n",
    )
    if random.random() < 0.4:
        return Draft(JSON_TYPE, body, length=random.choice(lengths), framing=True)
    return Draft(raw=random.choice(raws), framing=True)


def too_large(subject: Subject, random: Random) -> Draft:
    """Return a body beyond ``max_request_size``, or one declared so."""
    if random.random() < 0.8:
        return Draft(
            BINARY_TYPE,
            b"\0" * 64,
            length=b"%d" % random.choice((MOST_BODY + 1, 2**31 - 1, 2**31, 2**40)),
            framing=True,
        )
    return Draft(BINARY_TYPE, bytes(MOST_BODY + random.choice((1, 100_000))), framing=True)
