"""A request to be sent, as its parts or as bytes, and what may be answered."""

from dataclasses import dataclass
from random import Random

from fault_injection.samples import Sample, Subject
from nautilus_torchserve.wire.headers import CLIENT_REQUEST_ID, DEADLINE_NS

Headers = tuple[tuple[bytes, bytes], ...]
JSON_TYPE: Headers = ((b"Content-Type", b"application/json"),)
BINARY_TYPE: Headers = ((b"Content-Type", b"application/octet-stream"),)
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
    """Whether it goes to the explanations route."""
    raw: bytes = b""
    """The whole request, instead of the fields above."""
    framing: bool = False
    """Whether the server may rightly read it as another number of requests, or wait for more: the connection goes."""
    delivery: str = "whole"
    """``whole``, ``pieces``, ``half``, ``abort`` or ``twice``."""
    sample: Sample | None = None
    """The good request that it is, with its answer."""


def encoded(draft: Draft, model: str, host: str, token: str | None, request_id: str = "") -> bytes:
    """Return the bytes of a request."""
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
    """Return a good request, in one of the forms of its body and of its response."""
    sample = random.choice(subject.samples)
    accept = random.choice((b"application/octet-stream", b"application/octet-stream", b"application/json", b"*/*"))
    headers: Headers = ((b"Content-Type", sample.content_type.encode()), (b"Accept", accept))
    if random.random() < 0.2:
        headers += ((DEADLINE_NS.encode(), b"7258118400000000000"),)  # of the year 2200
    return Draft(headers, sample.body, sample=sample)
