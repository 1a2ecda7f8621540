"""A server on a raw socket that describes itself as a tick model and answers predictions as a table of modes says."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fault_injection import misbehaving_server
from fault_injection.misbehaving_server import End, Piece, Request
from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.wire import errors
from nautilus_torchserve.wire.output_constraints import PROBABILITY, OutputConstraints

SCHEMA = tick_schema()
CLASSES = ("buy", "sell", "hold")
DIGEST = "d" * 64
METADATA: dict[str, Any] = {
    "model": "tick",
    "version": "1.0",
    "archive_digest": DIGEST,
    "outputs": list(CLASSES),
    "output_constraints": OutputConstraints(dict.fromkeys(CLASSES, PROBABILITY), (CLASSES,)).to_dict(),
    "explained_outputs": list(CLASSES),
    "feature_schema": SCHEMA.to_dict(),
    "feature_schema_sha256": SCHEMA.sha256,
}


def probabilities(rows: np.ndarray) -> np.ndarray:
    """What the model answers: a float32 softmax of the first three columns."""
    exponentials = np.exp(rows[:, :3] - rows[:, :3].max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype("<f4")


@dataclass
class Reply:
    """What is sent; ``ends`` says what happens to the connection then: keep, close, reset, hang or drip."""

    body: bytes = b""
    status: str = "200 OK"
    headers: dict[str, str | None] = field(default_factory=dict)
    """In place of the right ones; None: that one is left out."""
    more_headers: bytes = b""
    length: str | None = ""
    """Content-Length in place of the right one; None: there is none."""
    raw: bytes | None = None
    """In place of all that."""
    ends: str = "keep"

    def encode(self, request: Request) -> bytes:
        if self.raw is not None:
            return self.raw
        right: dict[str, str | None] = {
            "Content-Type": "application/octet-stream",
            "x-model-version": "1.0",
            "x-archive-digest": DIGEST,
            "x-feature-schema": SCHEMA.sha256,
            "x-client-request-id": request.headers.get("x-client-request-id"),
            "Content-Length": str(len(self.body)) if self.length == "" else self.length,
        }
        lines = [f"{name}: {value}" for name, value in (right | self.headers).items() if value is not None]
        head = f"HTTP/1.1 {self.status}\r\n" + "\r\n".join(lines) + "\r\n"
        return head.encode("latin-1") + self.more_headers + b"\r\n" + self.body


def good(request: Request) -> Reply:
    if request.method == "GET":
        return described()
    return Reply(probabilities(request.rows).tobytes())


def described(**changes: Any) -> Reply:
    """A description, with these changes."""
    return Reply(json.dumps(METADATA | changes).encode(), headers={"Content-Type": "application/json"})


def values(*row: float) -> Callable[[Request], Reply]:
    """Each row is answered with these float32 values."""
    return lambda request: Reply(np.tile(np.array(row, "<f4"), (len(request.rows), 1)).tobytes())


def altered(**changes: Any) -> Callable[[Request], Reply]:
    """A right answer, but for these fields of `Reply`."""

    def reply(request: Request) -> Reply:
        reply = Reply(probabilities(request.rows).tobytes())
        for name, value in changes.items():
            setattr(reply, name, value(reply.body) if callable(value) else value)
        return reply

    return reply


def headed(**headers: str | None) -> Callable[[Request], Reply]:
    """A right answer with other headers; ``_`` in a name stands for ``-``."""
    return altered(headers={name.replace("_", "-"): value for name, value in headers.items()})


def error(status: str, body: bytes, **headers: str | None) -> Callable[[Request], Reply]:
    return altered(status=status, body=body, headers={"Content-Type": "application/json", **headers})


def json_error(status: str, **fields: Any) -> Callable[[Request], Reply]:
    return error(status, json.dumps(fields).encode())


HTML = b"<html><body>Bad Gateway</body></html>"
MEGABYTES = b"x" * 20_000_000
INVALID, UNFIT = errors.InvalidResponse, errors.OutputOutOfRange
Kind = type[errors.RequestError]
MODES: dict[str, tuple[Callable[[Request], Reply], Kind | tuple[Kind, ...]]] = {
    # values
    "nan": (values(np.nan, 0.5, 0.5), errors.OutputNotFinite),
    "inf": (values(np.inf, 0, 0), errors.OutputNotFinite),
    "minus-inf": (values(0, -np.inf, 0), errors.OutputNotFinite),
    "ones": (values(1, 1, 1), UNFIT),
    "zeros": (values(0, 0, 0), UNFIT),
    "halves": (values(0.5, 0.5, 0.5), UNFIT),
    "sum-0.8": (values(0.6, 0.1, 0.1), UNFIT),
    "above-1": (values(1.5, -0.25, -0.25), UNFIT),
    "1.01": (values(1.01, 0, -0.01), UNFIT),
    "huge": (values(-1e30, 1e30, 1), UNFIT),
    "big-endian": (lambda request: Reply(probabilities(request.rows).astype(">f4").tobytes()), UNFIT),
    # bodies
    "html-12": (altered(body=b"<html></html"[:12], headers={"Content-Type": "text/html"}), INVALID),
    "html-page": (altered(body=HTML, headers={"Content-Type": "text/html"}), INVALID),
    "html-as-binary": (altered(body=HTML), INVALID),
    "json": (altered(body=b"[0.2, 0.3, 0.5]", headers={"Content-Type": "application/json"}), INVALID),
    "short": (altered(body=lambda body: body[:-1]), INVALID),
    "no-rows": (altered(body=b""), INVALID),
    "one-row-more": (altered(body=lambda body: body + body[:12]), INVALID),
    "20-mb": (altered(body=MEGABYTES), INVALID),
    "endless": (altered(body=MEGABYTES, length=None, ends="drip"), INVALID),
    "truncated": (altered(length="48", ends="close"), INVALID),
    "reset-mid-body": (altered(length="48", ends="reset"), (INVALID, errors.Unavailable)),
    "gzip": (altered(body=gzip.compress, headers={"Content-Encoding": "gzip"}), INVALID),
    "gzip-header-only": (headed(Content_Encoding="gzip"), INVALID),
    "deflate": (headed(Content_Encoding="deflate"), INVALID),
    "transfer-gzip": (altered(body=gzip.compress, headers={"Transfer-Encoding": "gzip"}, length=None), INVALID),
    "chunked-garbage": (
        altered(body=b"zz\r\nabc", headers={"Transfer-Encoding": "chunked"}, length=None, ends="close"),
        INVALID,
    ),
    "chunked-cut": (
        altered(body=b"c\r\nabc", headers={"Transfer-Encoding": "chunked"}, length=None, ends="close"),
        INVALID,
    ),
    "chunked-huge": (
        altered(body=b"ffffffffffffffffff\r\n", headers={"Transfer-Encoding": "chunked"}, length=None),
        INVALID,
    ),
    "length-negative": (altered(length="-5", ends="close"), INVALID),
    "length-text": (altered(length="many", ends="close"), INVALID),
    "length-2**70": (altered(length=str(2**70), ends="close"), INVALID),
    "two-lengths": (altered(more_headers=b"Content-Length: 3\r\n", ends="close"), INVALID),
    # headers
    "no-type": (headed(Content_Type=None), INVALID),
    "two-types": (altered(more_headers=b"Content-Type: text/html\r\n"), INVALID),
    "no-headers": (
        headed(x_model_version=None, x_archive_digest=None, x_feature_schema=None, Content_Type=None),
        INVALID,
    ),
    "no-version": (headed(x_model_version=None), INVALID),
    "no-digest": (headed(x_archive_digest=None), INVALID),
    "no-schema": (headed(x_feature_schema=""), INVALID),
    "two-versions": (altered(more_headers=b"x-model-version: 2.0\r\n"), INVALID),
    "no-id": (headed(x_client_request_id=None), INVALID),
    "other-id": (headed(x_client_request_id="1" * 16 + "-7"), INVALID),
    "two-ids": (altered(more_headers=b"x-client-request-id: 7\r\n"), INVALID),
    "other-digest": (headed(x_archive_digest="e" * 64), errors.ModelChanged),
    "other-schema": (headed(x_feature_schema="e" * 64), errors.SchemaMismatch),
    "version-not-there": (headed(x_model_version="9.9"), INVALID),
    "version-path": (headed(x_model_version="../../evil?x=#"), INVALID),
    "version-escape": (headed(x_model_version="\x1b[31m1.0"), INVALID),
    "many-lines": (altered(more_headers=b"x-y: z\r\n" * 500), INVALID),
    "long-line": (altered(more_headers=b"x-y: " + b"z" * 60_000 + b"\r\n"), INVALID),
    "nul": (altered(more_headers=b"x-\0y: z\r\n"), INVALID),
    # statuses
    "204": (altered(status="204 No Content", body=b"", length=None), INVALID),
    "206": (altered(status="206 Partial Content"), INVALID),
    "301": (altered(status="301 Moved", more_headers=b"Location: /predictions/tick\r\n"), INVALID),
    "304": (altered(status="304 Not Modified", body=b"", length=None), INVALID),
    "404-html": (error("404 Not Found", HTML), INVALID),
    "404-torchserve": (json_error("404 Not Found", code=404, message="Model not found"), errors.UnknownModel),
    "418": (error("418 Teapot", b""), errors.ServerFault),
    "500-html": (error("500 Error", HTML), errors.ServerFault),
    "502-html": (error("502 Bad Gateway", HTML), errors.ServerFault),
    "503-html": (error("503 Unavailable", HTML), errors.Unavailable),
    "599": (altered(status="599 "), errors.ServerFault),
    "999": (altered(status="999 What"), errors.ServerFault),
    "status-negative": (altered(status="-1 OK"), INVALID),
    "status-2000": (altered(status="2000 OK"), INVALID),
    "status-text": (altered(status="OK"), INVALID),
    "100-for-ever": (altered(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 500, ends="hang"), INVALID),
    # errors
    "error-list": (json_error("500 Error", error=[]), errors.ServerFault),
    "error-object": (json_error("500 Error", error={}, detail=[], message={}), errors.ServerFault),
    "error-null": (error("500 Error", b"null"), errors.ServerFault),
    "error-deep": (error("500 Error", b"[" * 50_000), errors.ServerFault),
    "error-bytes": (error("500 Error", b"\xff\xfe\x00"), errors.ServerFault),
    "error-20-mb": (error("500 Error", MEGABYTES), INVALID),
    "error-60-kb": (json_error("500 Error", message="y" * 60_000), errors.ServerFault),
    "error-detail-60-kb": (json_error("503 Busy", error="Unavailable", detail="y" * 60_000), errors.Unavailable),
    "error-unknown": (json_error("400 Bad", error="NoSuchClass", detail="x"), errors.ServerFault),
    "blames-finite-rows": (json_error("400 Bad", error="NotFinite", detail="x"), INVALID),
    "blames-the-shape": (json_error("400 Bad", error="BadShape", detail="x"), INVALID),
    "blames-as-500": (json_error("500 Error", error="NotFinite", detail="x"), INVALID),
    "blames-as-200": (error("200 OK", b'{"error": "NotFinite"}'), INVALID),
    "blames-without-id": (
        error("422 Bad", b'{"error": "BadWindow", "detail": "x"}', **{"x-client-request-id": None}),
        INVALID,
    ),
    # what is no HTTP
    "http-0.9": (altered(raw=b"\0" * 12, ends="close"), INVALID),
    "http-2": (altered(raw=b"HTTP/2 200\r\n\r\n", ends="close"), (INVALID, errors.Unavailable)),
    "http-9.9": (altered(raw=b"HTTP/9.9 200 OK\r\n\r\n", ends="close"), (INVALID, errors.Unavailable)),
    "tls-alert": (altered(raw=b"\x15\x03\x03\x00\x02\x02\x46", ends="close"), INVALID),
    "closed": (altered(raw=b"", ends="close"), errors.Unavailable),
    "reset": (altered(raw=b"", ends="reset"), errors.Unavailable),
    "never": (altered(raw=b"", ends="hang"), errors.DeadlinePassed),
    "drips": (altered(length="24", raw=b"HTTP/1.1 200 OK\r\nx-y: ", ends="drip"), (errors.DeadlinePassed, INVALID)),
}
"""Name -> what is answered, and as which error the client raises it."""


class MisbehavingServer(misbehaving_server.MisbehavingServer):
    """Answers each request as ``mode`` says; a context manager.

    Parameters
    ----------
    mode : callable
        Request -> `Reply`, of a POST.
    describe : callable
        Of a GET.
    """

    def __init__(self, mode: Callable[[Request], Reply] = good, describe: Callable[[Request], Reply] = good) -> None:
        super().__init__()
        self.mode, self.describe = mode, describe
        self.requests = 0
        """POSTs so far."""

    def reply(self, request: Request) -> Iterator[Piece]:
        self.requests += request.method == "POST"
        reply = (self.describe if request.method == "GET" else self.mode)(request)
        yield reply.encode(request)
        if reply.ends in ("hang", "drip"):
            while not self.is_over.wait(0.01):
                yield b"z" if reply.ends == "drip" else 0.0
        if reply.ends != "keep":
            yield End.RESET if reply.ends == "reset" else End.CLOSE
