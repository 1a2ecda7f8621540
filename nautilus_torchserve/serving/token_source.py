"""A server's token as it is now: read again when the key file changes, renewed before it ends or when it is refused.

TorchServe renews a token with the API key of its key file, and ends the one before at once. Several processes may share
a key file: a refused token is looked up in the file first, and one process at a time renews.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import requests

from nautilus_torchserve.files.lock import try_lock
from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.serving.tokens import Key, NoToken, Token, current_token, read_key

RENEW_BEFORE_NS = 300_000_000_000
"""Time before a token's end at which it is renewed, unless another is given (nanoseconds)."""
_TIMEOUT_S = 5.0
_MAX_ATTEMPTS = 4
_LOCK_EVERY_S = 0.02
_NO_TOKEN = "no token was sent: pass the server's key file (--token-file, or token_file in a live configuration)"
_FIXED_TOKEN = (
    "a fixed token ends when the server restarts, when it expires and when it is renewed: pass the server's key file "
    "(--token-file, or token_file in a live configuration), which is followed"
)
Result = TypeVar("Result")


class TokenSource:
    """A token of a TorchServe key file, to be passed where a token is taken; threads may share it.

    Parameters
    ----------
    key_file : Path
        ``key_file.json`` of the server's working directory; need not exist yet.
    renew_url : str, optional
        The management port, ``http://`` or ``https://``; None: tokens are not renewed.
    renew_before_ns : int
        Time before the token's end at which it is renewed (nanoseconds). At most half of the lifetime of a token that
        was issued while this process ran: clocks that disagree, and lifetimes of a minute, must not make two processes
        renew each other's token without end.
    purpose : str
        ``inference`` or ``management``.
    """

    def __init__(
        self,
        key_file: Path,
        renew_url: str | None = None,
        renew_before_ns: int = RENEW_BEFORE_NS,
        purpose: str = "inference",
    ) -> None:
        self.key_file = key_file
        self._renew_url = None if renew_url is None else renew_url.rstrip("/")
        self._renew_before_s = renew_before_ns / 1e9
        self._purpose = purpose
        self._lock = threading.Lock()
        self._key: Key | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._renew_at = float("inf")  # Unix seconds

    def __call__(self) -> str | None:
        """Return the token as last read, None before the first reading. Does not block."""
        return None if self._key is None else self._key.token

    def refresh(self) -> None:
        """Read the key file if it changed; renew a token that is about to end or has ended.

        Raises
        ------
        NoToken
            The file cannot be used, or the token cannot be renewed; the token stays what it was.
        """
        with self._lock:
            self._read()
            if self._renew_url is not None and time.time() >= self._renew_at:
                self._renew(self())

    def replace(self, refused: str | None) -> bool:
        """Look for another token than the one that the server refused; return whether there is one.

        Raises
        ------
        NoToken
            As `refresh`.
        """
        with self._lock:
            self._read()
            if self() == refused and self._renew_url is not None:
                self._renew(refused)
            return self() != refused

    def _read(self) -> None:
        try:
            status = self.key_file.stat()
            stamp = status.st_mtime_ns, status.st_ino, status.st_size
        except OSError:
            stamp = None  # `read_key` says why
        if stamp is None or stamp != self._stamp:
            key = read_key(self.key_file, self._purpose)
            if key != self._key:
                self._schedule(key, is_new=self._key is not None)
            self._key, self._stamp = key, stamp

    def _schedule(self, key: Key, is_new: bool) -> None:
        if key.ends is None:
            self._renew_at = float("inf")
            return
        lifetime_s = key.ends.timestamp() - time.time()
        if not is_new:
            self._renew_at = key.ends.timestamp() - self._renew_before_s
        elif lifetime_s <= 0:  # issued just now, yet ended: the clocks disagree, so the server's refusal decides
            self._renew_at = float("inf")
        else:
            self._renew_at = key.ends.timestamp() - min(self._renew_before_s, lifetime_s / 2)

    def _renew(self, ended: str | None) -> None:
        with _one_process_at_a_time(self.key_file):
            self._read()
            if self() != ended:
                return  # another process was faster
            self._request_renewal()
            self._stamp = None
            self._read()

    def _request_renewal(self) -> None:
        url = f"{self._renew_url}/token?type={self._purpose}"
        headers = {"Authorization": f"Bearer {read_key(self.key_file, 'API').token}"}
        try:
            with HttpSession() as session:
                status, content = session.fetch("GET", url, timeout_s=_TIMEOUT_S, headers=headers)
        except requests.RequestException as error:
            raise NoToken(f"the {self._purpose} token cannot be renewed at {url}: {f'{error}'[:200]}") from None
        if status != 200:
            got = " ".join(content[:200].decode(errors="replace").split())
            raise NoToken(
                f"the {self._purpose} token cannot be renewed at {url}: {status}: {got} "
                f"(is {self.key_file} the key file of the server that runs there, and can that server write it?)"
            )


def with_token(token: Token, send: Callable[[str | None], Result], refusal: type[Exception]) -> Result:
    """Send with the current token, and again with another while a `TokenSource`'s is refused.

    A refused request was not carried out, so nothing is done twice.

    Parameters
    ----------
    send : callable
        Sends the request with the token it is given; raises ``refusal`` where the server refuses the token.
    refusal : type
        Exception class made of one message.
    """
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        used = current_token(token)
        try:
            return send(used)
        except refusal as error:
            if not isinstance(token, TokenSource):
                raise refusal(f"{error}; {_NO_TOKEN if used is None else _FIXED_TOKEN}") from error
            if attempt == _MAX_ATTEMPTS:
                raise
            try:
                is_replaced = token.replace(used)
            except NoToken as reason:
                raise refusal(f"{error}; no other token: {reason}") from error
            if not is_replaced:
                raise
    raise AssertionError("unreachable")


@contextmanager
def _one_process_at_a_time(key_file: Path) -> Iterator[None]:
    """Hold a lock on the key file while it is renewed; a file that cannot be locked is renewed without one."""
    try:
        file = key_file.open("rb")
    except OSError as error:
        raise NoToken(f"{key_file}: expected TorchServe's key file, got {error.strerror}") from None
    with file:
        deadline = time.monotonic() + 2 * _TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                if try_lock(file):
                    break
            except OSError:
                break
            time.sleep(_LOCK_EVERY_S)
        yield
