"""Requests as a plain HTTP client makes them."""

import json

import requests

from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire import body


def post(server: TorchServe, content: object, route: str, **sent: str) -> requests.Response:
    """POST bytes as they are, all else as JSON; underscores in header names become dashes."""
    named = {"Content-Type": body.JSON, "Authorization": f"Bearer {server.token}"}
    named |= {name.replace("_", "-"): value for name, value in sent.items()}
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return requests.post(f"{server.inference_url}/predictions/{route}", data=data, headers=named, timeout=30)
