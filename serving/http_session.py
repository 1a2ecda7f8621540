"""HTTP through `requests`, for calls that are not on the hot path."""

from typing import Any

import requests
from urllib3.exceptions import LocationParseError

from wire.loopback import is_loopback


class HttpSession(requests.Session):
    """A `requests.Session` that asks servers on this machine without a proxy, and whose headers stay as they are given.

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

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a prepared request; every request and every redirection passes here."""
        if is_loopback(request.url or ""):
            options["proxies"] = {}
        return super().send(request, **options)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication beyond the headers: without it an entry of ``~/.netrc`` would replace a token."""
    return request
