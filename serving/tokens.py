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
    return None if ends is None else datetime.fromisoformat(ends)


def inference_token(key_file: Path) -> str:
    """The token for predictions."""
    return read_token(key_file, "inference")


def management_token(key_file: Path) -> str:
    """The token for the management port: whoever holds it can run code on the server."""
    return read_token(key_file, "management")


def _read_entry(key_file: Path, purpose: str) -> dict[str, str]:
    try:
        entry = json.loads(key_file.read_text())[purpose]
        if "key" not in entry:
            raise KeyError("key")
    except FileNotFoundError as error:
        raise NoToken(f"{key_file}: TorchServe's key file expected, was missing (is the server running?)") from error
    except (json.JSONDecodeError, KeyError) as error:
        raise NoToken(f"{key_file}: a {purpose!r} key expected, was {error}") from error
    return entry
