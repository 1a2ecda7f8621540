"""The inference token, from a key file or from the server of this checkout."""

import os
from pathlib import Path

from nautilus_torchserve.bundle import WORKSPACE
from nautilus_torchserve.serving.server.torchserve import TorchServe, find_server
from nautilus_torchserve.serving.tokens import KEY_FILE, inference_token


def provide_token(variable: str, url: str, key_file: Path | None) -> None:
    """Set the variable from the key file, else, where it is not set, from this checkout's server.

    Only for that server's own URL: the token is sent to no other.

    Raises
    ------
    NoToken
        The key file holds none.
    """
    if key_file is not None:
        os.environ[variable] = inference_token(key_file)
    elif variable not in os.environ and (server := _own_server(url)) is not None:
        os.environ[variable] = inference_token(server.home / KEY_FILE)


def own_key_file(url: str) -> tuple[Path, str] | None:
    """Return the key file and the management URL of this checkout's server, where it has this URL and takes tokens."""
    server = _own_server(url)
    return None if server is None else (server.home / KEY_FILE, server.management_url)


def _own_server(url: str) -> TorchServe | None:
    server = find_server(WORKSPACE / ".server")
    if server is None or server.inference_url != url.rstrip("/") or server.token_source("inference") is None:
        return None
    return server
