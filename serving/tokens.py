"""TorchServe's tokens, which it writes anew to ``key_file.json`` at every start."""

import json
from pathlib import Path

KEY_FILE = "key_file.json"


class NoToken(RuntimeError):
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
    try:
        return json.loads(key_file.read_text())[purpose]["key"]
    except FileNotFoundError as error:
        raise NoToken(f"{key_file}: TorchServe's key file expected, was missing (is the server running?)") from error
    except (json.JSONDecodeError, KeyError) as error:
        raise NoToken(f"{key_file}: a {purpose!r} key expected, was {error}") from error


def inference_token(key_file: Path) -> str:
    """The token for predictions."""
    return read_token(key_file, "inference")


def management_token(key_file: Path) -> str:
    """The token for the management port: whoever holds it can run code on the server."""
    return read_token(key_file, "management")
