"""Keep-alive HTTP through libcurl, whose overhead a request is a fraction of `requests`'.

What a server sends is bounded: the status line and headers by `HEADER_LINES` and `HEADER_BYTES`, an error's body by
`ERROR_BYTES`, any other body by what the caller expects, the whole exchange by its timeout. Beyond a bound the transfer
is aborted and the connection closed.
"""

import re
import threading
from typing import NamedTuple

import pycurl

from nautilus_torchserve.serving.token_source import with_token
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.wire import headers
from nautilus_torchserve.wire.errors import (
    DeadlinePassed,
    InvalidResponse,
    RequestError,
    Unauthorized,
    Unavailable,
    error_from_response,
    one_line,
)
from nautilus_torchserve.wire.loopback import is_loopback

HEADER_LINES = 100
"""Most lines of headers, status lines included."""
HEADER_BYTES = 32 * 1024
"""Most bytes of them together."""
ERROR_BYTES = 64 * 1024
"""Most bytes of an error's body, and the least bound of any other."""
SINGLE = frozenset(
    (
        *("content-encoding", "content-length", "content-type", headers.ARCHIVE_DIGEST, headers.CLIENT_REQUEST_ID),
        *(headers.FEATURE_SCHEMA, headers.MODEL_VERSION),
    )
)
"""Headers that have one value, or the response is invalid."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?:[ \r\n]|$)")
_NO_RESPONSE = frozenset(
    (
        *(pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY),
        *(pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_URL_MALFORMAT),
    )
)
"""libcurl's errors where there was no response, unless some of it was there; with all others it cannot be read."""


class Request(NamedTuple):
    """An HTTP request."""

    url: str
    body: bytes | None
    """Body of a POST; None makes it a GET."""
    headers: list[str]
    """``Name: value``."""
    timeout_s: float
    """Longest wait for the whole response, seconds."""
    limit: int = ERROR_BYTES
    """Most bytes of the response's body; `ERROR_BYTES` where that is more."""
    keep_alive: bool = True
    """Whether it may go over the connection of an earlier request, and the next one over its own."""


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    """Name in lower case -> value; of a header that may be repeated, the first."""
    body: bytes


class HttpConnection:
    """Connections to a server, one a thread, with its token.

    After an error answer TorchServe closes the connection; libcurl opens a new one at the next request.

    Parameters
    ----------
    token : Token
        TorchServe's inference token; where a `TokenSource`'s is refused, the request is sent again with another.
    """

    def __init__(self, token: Token) -> None:
        self._token = token
        self._threads = threading.local()
        self._handles: list[pycurl.Curl] = []

    def send(self, request: Request) -> Response:
        """Send one request and receive its response, of whatever status.

        Raises
        ------
        Unauthorized, DeadlinePassed, Unavailable
            There is no response.
        InvalidResponse
            What came is no HTTP response, or exceeds a bound.
        """
        return with_token(self._token, lambda token: self._send(token, request), Unauthorized)

    def _send(self, token: str | None, request: Request) -> Response:
        url, sent, timeout_s = request.url, request.body, request.timeout_s
        curl = self._handle()
        receiver = _Receiver(max(request.limit, ERROR_BYTES))
        set_url(curl, url)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(timeout_s * 1000)))  # 0 would wait for ever
        curl.setopt(pycurl.FRESH_CONNECT, not request.keep_alive)
        curl.setopt(pycurl.FORBID_REUSE, not request.keep_alive)
        if token is not None and not (token.isascii() and token.isprintable()):
            raise Unauthorized(f"{url}: expected a token of ASCII letters, got another")
        authorization = [] if token is None else [f"Authorization: Bearer {token}"]
        curl.setopt(pycurl.HTTPHEADER, [*request.headers, *authorization, "Expect:", "User-Agent:"])
        if sent is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDSIZE, len(sent))
            curl.setopt(pycurl.POSTFIELDS, sent)
        curl.setopt(pycurl.WRITEFUNCTION, receiver.take_body)
        curl.setopt(pycurl.HEADERFUNCTION, receiver.take_header)
        try:
            curl.perform()
        except pycurl.error as error:
            self.drop()
            raise _without_response(url, timeout_s, receiver, *error.args) from error
        try:
            response = receiver.response()
        except InvalidResponse as error:
            self.drop()
            raise InvalidResponse(f"{url}: {error}") from None
        if response.status != 200 and isinstance(
            refused := error_from_response(response.status, response.body), Unauthorized
        ):
            raise Unauthorized(f"{url}: {refused}")
        return response

    def drop(self) -> None:
        """Close this thread's connection: what comes over it next may belong to an earlier request."""
        curl = getattr(self._threads, "curl", None)
        if curl is not None:
            self._threads.curl = None
            if curl in self._handles:  # not closed by another thread
                self._handles.remove(curl)
                curl.close()

    def close(self) -> None:
        """Close the connections of all threads."""
        for handle in self._handles:
            handle.close()
        self._handles.clear()
        self._threads = threading.local()

    def _handle(self) -> pycurl.Curl:
        curl = getattr(self._threads, "curl", None)
        if curl is None:
            curl = self._threads.curl = pycurl.Curl()
            curl.setopt(pycurl.NOSIGNAL, 1)
            curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
            curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
            self._handles.append(curl)
        return curl


class _Receiver:
    """Collects a response, within bounds; libcurl aborts the transfer where a callback returns a negative number."""

    __slots__ = ("_header_bytes", "_left", "_lines", "body", "exceeded")

    def __init__(self, limit: int) -> None:
        self.body: list[bytes] = []
        self.exceeded = ""
        """The bound that was exceeded, for a message."""
        self._left = limit
        self._lines: list[bytes] = []
        self._header_bytes = 0

    @property
    def has_begun(self) -> bool:
        """Whether a part of a response was received."""
        return bool(self._lines)

    def take_body(self, data: bytes) -> int | None:
        if len(data) > self._left:
            self.exceeded = f"a body of at most {self._left + sum(map(len, self.body)):,} bytes"
            return -1
        self._left -= len(data)
        self.body.append(data)
        return None

    def take_header(self, line: bytes) -> int | None:
        self._header_bytes += len(line)
        if len(self._lines) == HEADER_LINES or self._header_bytes > HEADER_BYTES:
            self.exceeded = f"at most {HEADER_LINES} lines and {HEADER_BYTES:,} bytes of headers"
            return -1
        self._lines.append(line)
        return None

    def response(self) -> Response:
        """Return the last response; others, of status 1xx, may have come before it.

        Raises
        ------
        InvalidResponse
            Its status line, which libcurl reads generously, is none, or a header of `SINGLE` has two values.
        """
        received: dict[str, str] = {}
        status_line = b""
        for line in self._lines:
            if line.startswith(b"HTTP/"):
                status_line = line
                received.clear()
                continue
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                continue
            name, value = name.lower(), value.strip()
            if received.setdefault(name, value) != value and name in SINGLE:
                raise InvalidResponse(
                    f"expected one header {name}, got {one_line(f'{received[name]!r} and {value!r}')}"
                )
        status = _STATUS_LINE.match(status_line)
        if status is None:
            raise InvalidResponse(f"expected an HTTP status line, got {one_line(status_line.decode('latin-1'))!r}")
        return Response(int(status[1]), received, b"".join(self.body))


def set_url(curl: pycurl.Curl, url: str) -> None:
    """Set where a handle's next request goes; past the environment's proxies where that is this machine."""
    curl.setopt(pycurl.URL, url.encode("utf-8", "surrogateescape"))
    if is_loopback(url):
        curl.setopt(pycurl.PROXY, "")
    else:
        curl.unsetopt(pycurl.PROXY)


def _without_response(url: str, timeout_s: float, receiver: _Receiver, code: int, text: str) -> RequestError:
    if receiver.exceeded:
        return InvalidResponse(f"{url}: expected {receiver.exceeded}, got more")
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return DeadlinePassed(f"{url}: expected an answer within {timeout_s:g} s, got none: {one_line(text)}")
    kind = Unavailable if code in _NO_RESPONSE and not receiver.has_begun else InvalidResponse
    return kind(f"{url}: {one_line(text)}")
