"""HTTP through `requests`, for calls that are not on the hot path."""

import time
from typing import Any

import requests
from urllib3.exceptions import HTTPError, LocationParseError

from nautilus_torchserve.wire.loopback import is_loopback

MAX_ANSWER_BYTES = 64 << 20
"""Size limit of one answer."""


class HttpSession(requests.Session):
    """A `requests.Session` that reaches servers on this machine without a proxy, and keeps the headers it is given.

    Proxies of the environment hold for all other hosts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = _as_given

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """Make a request; a URL or a header that cannot be sent is a `requests.RequestException` like all failures."""
        try:
            return super().request(method, url, **options)
        except (LocationParseError, UnicodeError) as error:  # requests lets these two through
            raise requests.exceptions.InvalidURL(f"{error}") from None

    def fetch(self, method: str, url: str, timeout_s: float, **options: Any) -> tuple[int, bytes]:
        """Make a request; return its status and its whole answer.

        Raises
        ------
        requests.RequestException
            The request failed, or its answer is larger than `MAX_ANSWER_BYTES` or takes longer than ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        content = bytearray()
        with self.request(method, url, timeout=timeout_s, stream=True, **options) as response:
            try:
                while part := response.raw.read1(1 << 16, decode_content=True):
                    content += part
                    if len(content) > MAX_ANSWER_BYTES:
                        raise requests.ConnectionError(f"{url}: expected at most {MAX_ANSWER_BYTES:,} bytes, got more")
                    if time.monotonic() > deadline:
                        raise requests.ReadTimeout(f"{url}: expected a whole answer within {timeout_s:g} s")
            except HTTPError as error:
                raise requests.ConnectionError(f"{url}: {error}") from None
        return response.status_code, bytes(content)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a prepared request; every request and every redirection passes here."""
        if is_loopback(request.url or ""):
            options["proxies"] = {}
        return super().send(request, **options)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep the headers: otherwise an entry of ``~/.netrc`` would replace a token."""
    return request
