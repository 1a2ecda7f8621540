"""TorchServe's tokens, which it writes anew to ``key_file.json`` at every start."""

import json
from datetime import datetime
from pathlib import Path

from wire.user_error import UserError

KEY_FILE = "key_file.json"


class NoToken(UserError):
    """The key file is missing or holds no such key."""


def read_token(key_file: Path, purpose: str) -> str:
    """The token for one purpose.

    Parameters
    ----------
    key_file : Path
        ``key_file.json`` of the server's working directory.
    purpose : str
        ``inference``, ``management`` or ``API`` (which only renews the others).
    """
    return _read_entry(key_file, purpose)["key"]


def read_expiry(key_file: Path, purpose: str) -> datetime | None:
    """When the token for one purpose ends; None: never. Raises what `read_token` does."""
    ends = _read_entry(key_file, purpose).get("expiration time")
    try:
        return None if ends is None else datetime.fromisoformat(ends)
    except (TypeError, ValueError):
        raise NoToken(f"{key_file}: {purpose}: expiration time: expected an ISO 8601 time, got {ends!r}") from None


def inference_token(key_file: Path) -> str:
    """The token for predictions."""
    return read_token(key_file, "inference")


def management_token(key_file: Path) -> str:
    """The token for the management port: whoever holds it can run code on the server."""
    return read_token(key_file, "management")


def _read_entry(key_file: Path, purpose: str) -> dict[str, str]:
    try:
        entries = json.loads(key_file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NoToken(f"{key_file}: TorchServe's key file expected, was missing (is the server running?)") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise NoToken(f"{key_file}: expected TorchServe's key file, got no JSON: {error}") from None
    entry = entries.get(purpose) if isinstance(entries, dict) else None
    key = entry.get("key") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(key, str) or not (key.isascii() and key.isprintable()):
        raise NoToken(f"{key_file}: {purpose}: expected an object whose key is a text of ASCII letters, got another")
    return entry
