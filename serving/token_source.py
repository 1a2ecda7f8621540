"""A server's inference token as it is now: read again when the key file changes, renewed before it ends."""

import threading
import time
from pathlib import Path

from serving.http_connection import HttpConnection
from serving.tokens import NoToken, inference_token, read_expiry, read_token

_TIMEOUT_S = 5.0


class TokenSource:
    """TorchServe's inference token, from its key file; to be given where a token is taken. Safe to share by threads.

    TorchServe writes the file anew at each start, and with each renewal, which ends the token before at once.

    Parameters
    ----------
    key_file : Path
        ``key_file.json`` of the server's working directory; need not be there yet.
    renew_url : str, optional
        The management port, ``http://`` or ``https://``; None: tokens are not renewed.
    renew_before_ns : int
        Time before the token's end at which it is renewed (nanoseconds).
    """

    def __init__(
        self,
        key_file: Path,
        renew_url: str | None = None,
        renew_before_ns: int = 300_000_000_000,
    ) -> None:
        self._key_file = key_file
        self._renew_url = renew_url
        self._renew_before_s = renew_before_ns / 1e9
        self._lock = threading.Lock()
        self._token: str | None = None
        self._read_at: tuple[int, int] | None = None

    def __call__(self) -> str | None:
        """The token, as last read; None where none was. Does not block."""
        return self._token

    def refresh(self) -> None:
        """Read the key file where it has changed; renew the token where it is about to end, or has ended.

        Raises
        ------
        NoToken
            The file is missing or holds none; the token stays what it was.
        RequestError
            The token should be renewed, and cannot be; as before.
        """
        with self._lock:
            self._read()
            if self._renew_url is None or self._token is None:
                return
            ends = read_expiry(self._key_file, "inference")
            if ends is not None and time.time() >= ends.timestamp() - self._renew_before_s:
                self._renew()

    def replace(self, refused: str | None) -> bool:
        """Find another token than the one that the server has refused; whether there is one.

        Raises
        ------
        NoToken, RequestError
            As `refresh`.
        """
        with self._lock:
            self._read()
            if self._token == refused and self._renew_url is not None:
                self._renew()
            return self._token != refused

    def _read(self) -> None:
        try:
            found = self._key_file.stat()
        except FileNotFoundError as error:
            raise NoToken(f"{self._key_file}: TorchServe's key file expected, was missing") from error
        stamp = found.st_mtime_ns, found.st_ino
        if stamp != self._read_at:
            self._token = inference_token(self._key_file)
            self._read_at = stamp

    def _renew(self) -> None:
        connection = HttpConnection(read_token(self._key_file, "API"))
        try:
            connection.exchange(f"{self._renew_url}/token?type=inference", None, [], _TIMEOUT_S)
        finally:
            connection.close()
        self._read_at = None
        self._read()
