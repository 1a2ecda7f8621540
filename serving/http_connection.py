"""Keep-alive HTTP through libcurl, whose overhead a request is a fraction of `requests`'."""

import threading
from io import BytesIO

import pycurl

from serving.token_source import with_token
from serving.tokens import Token
from wire.errors import DeadlinePassed, RequestError, Unauthorized, Unavailable, from_answer
from wire.loopback import is_loopback


class HttpConnection:
    """One connection for each thread that asks, with the server's token.

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

    def exchange(
        self, url: str, sent: bytes | None, extra: list[str], timeout_s: float
    ) -> tuple[bytes, dict[str, str]]:
        """One request, one answer: its body and its headers in lower case.

        Parameters
        ----------
        sent : bytes or None
            Body of a POST; None makes it a GET.
        extra : list of str
            Headers, ``Name: value``.
        timeout_s : float
            Longest wait, seconds.

        Raises
        ------
        RequestError
            What the server refused with, or why there was no answer.
        """
        return with_token(self._token, lambda token: self._exchange(token, url, sent, extra, timeout_s), Unauthorized)

    def _exchange(
        self, token: str | None, url: str, sent: bytes | None, extra: list[str], timeout_s: float
    ) -> tuple[bytes, dict[str, str]]:
        curl = self._handle()
        received = BytesIO()
        lines: list[bytes] = []
        set_url(curl, url)
        curl.setopt(pycurl.TIMEOUT_MS, round(timeout_s * 1000))
        if token is not None and not (token.isascii() and token.isprintable()):
            raise Unauthorized(f"{url}: expected a token of ASCII letters, got another")
        authorization = [] if token is None else [f"Authorization: Bearer {token}"]
        curl.setopt(pycurl.HTTPHEADER, [*extra, *authorization, "Expect:", "User-Agent:"])
        if sent is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDSIZE, len(sent))
            curl.setopt(pycurl.POSTFIELDS, sent)
        curl.setopt(pycurl.WRITEFUNCTION, received.write)
        curl.setopt(pycurl.HEADERFUNCTION, lines.append)
        try:
            curl.perform()
        except pycurl.error as error:
            raise _unanswered(url, timeout_s, *error.args) from error
        code = curl.getinfo(pycurl.RESPONSE_CODE)
        if code != 200:
            refused = from_answer(code, received.getvalue())
            raise type(refused)(f"{url}: {refused}")
        pairs = (line.decode("latin-1").partition(":") for line in lines)
        return received.getvalue(), {name.lower(): value.strip() for name, _, value in pairs}

    def close(self) -> None:
        """Give all threads' connections back."""
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
            self._handles.append(curl)
        return curl


def set_url(curl: pycurl.Curl, url: str) -> None:
    """Set where a handle's next request goes; past the environment's proxies where that is this machine."""
    curl.setopt(pycurl.URL, url.encode("utf-8", "surrogateescape"))
    if is_loopback(url):
        curl.setopt(pycurl.PROXY, "")
    else:
        curl.unsetopt(pycurl.PROXY)


def _unanswered(url: str, timeout_s: float, code: int, text: str) -> RequestError:
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return DeadlinePassed(f"{url}: an answer within {timeout_s:g} s expected: {text}")
    return Unavailable(f"{url}: {text}")
