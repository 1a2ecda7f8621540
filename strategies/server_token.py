"""The inference token, from a key file or from the server that was started here."""

import os
from pathlib import Path

from serving.tokens import inference_token
from serving.torchserve import PROJECT, find_server


def provide_token(variable: str, url: str, key_file: Path | None) -> None:
    """Set the variable from the key file, else, where it is not set, from the server that scripts/serve.py started.

    Only for that server's own URL: a token is sent to nobody else.

    Raises
    ------
    NoToken
        The key file holds none.
    """
    if key_file is not None:
        os.environ[variable] = inference_token(key_file)
    elif variable not in os.environ:
        server = find_server(PROJECT / ".server")
        if server is not None and server.inference_url == url.rstrip("/") and server.token is not None:
            os.environ[variable] = server.token
