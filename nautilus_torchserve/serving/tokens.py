"""TorchServe's tokens, which it writes anew to ``key_file.json`` at every start and with each renewal."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nautilus_torchserve.files.state_file import DamagedState, read_state
from nautilus_torchserve.user_error import UserError

KEY_FILE = "key_file.json"
Token = str | Callable[[], str | None] | None
"""A server's token, or a callable that returns the current one; None where the server takes requests without one."""
_WRITTEN_WITHIN_S = 0.25
_RETRY_EVERY_S = 0.01
_UNFINISHED = ("an empty file", "JSON that ends early")
"""Errors of reading the file while TorchServe writes it, which it does in place."""


class NoToken(UserError):
    """The key file is missing, cannot be used, or its token cannot be renewed."""


@dataclass(frozen=True)
class Key:
    """A token of the key file."""

    token: str
    ends: datetime | None
    """Time at which the server stops accepting it; None: never."""


def read_key(key_file: Path, purpose: str) -> Key:
    """Read the token for one purpose; waits for a file that is being written.

    Parameters
    ----------
    key_file : Path
        ``key_file.json`` of the server's working directory.
    purpose : str
        ``inference``, ``management`` or ``API`` (which only renews the others).

    Raises
    ------
    NoToken
        The file is missing, damaged or unreadable, or has no such token.
    """
    entry = _read_entries(key_file).get(purpose)
    token = entry.get("key") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(token, str) or not _fits_header(token):
        raise NoToken(f"{key_file}: {purpose}: expected an object whose key is a text of ASCII letters, got another")
    return Key(token, _ends(entry.get("expiration time"), f"{key_file}: {purpose}"))


def inference_token(key_file: Path) -> str:
    """Return the token for predictions; raises what `read_key` does."""
    return read_key(key_file, "inference").token


def current_token(token: Token) -> str | None:
    """Return the token to send now."""
    return token() if callable(token) else token


def _read_entries(key_file: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _WRITTEN_WITHIN_S
    while True:
        try:
            return read_state(key_file, dict[str, Any], "TorchServe's key file", "restart the server, or copy it again")
        except FileNotFoundError:
            raise NoToken(f"{key_file}: expected TorchServe's key file, got none (is the server running?)") from None
        except DamagedState as error:
            if error.got not in _UNFINISHED or time.monotonic() > deadline:
                raise NoToken(f"{error}") from None
        time.sleep(_RETRY_EVERY_S)


def _fits_header(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable()


def _ends(written: Any, where: str) -> datetime | None:
    """Return an expiry as Java prints it, ``2026-11-30T14:00:00.123456789Z``; a year beyond 9999 is never."""
    if written is None or (isinstance(written, str) and written.startswith("+")):
        return None
    try:
        ends = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        shown = f"{written!r}"[:40]
        raise NoToken(f"{where}: expiration time: expected an ISO 8601 time, got {shown}") from None
    return ends if ends.tzinfo is not None else ends.replace(tzinfo=UTC)
