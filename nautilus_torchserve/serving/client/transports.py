"""Transports: how a client reaches a model, by the beginning of its URL. No other module looks at a URL's scheme."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.user_error import InvalidArgument

if TYPE_CHECKING:
    from nautilus_torchserve.models.spec import ModelSpec
    from nautilus_torchserve.serving.client.client import InferenceClient


class Target(NamedTuple):
    """Model that a client connects to, see `serving.client.client.connect`."""

    url: str
    model: str
    version: str | None
    schema_sha256: str | None
    """Hash of the features that the caller computes; None: not compared."""
    token: Token
    timeout_s: float
    spec: "ModelSpec | None" = None
    """Spec of the model, where the caller has one."""


class Transport(NamedTuple):
    """A way to reach a model."""

    prefix: str
    """Beginning of its URLs."""
    connect: Callable[[Target], "InferenceClient"]
    is_server: bool
    """Whether a server is at the other end: it has several versions, and takes a token."""


def _connect_http(target: Target) -> "InferenceClient":
    if target.spec is not None and target.spec.mapping is not None:
        from nautilus_torchserve.serving.client.json_client import JsonClient  # needs pycurl

        return JsonClient(target, target.spec, target.spec.mapping)
    from nautilus_torchserve.serving.client.http_client import HttpClient  # needs pycurl

    return HttpClient(target)


def _connect_archive(target: Target) -> "InferenceClient":
    if target.spec is not None and target.spec.mapping is not None:
        raise InvalidArgument(
            f"{target.url:.200}: expected the url of a server, {SERVER_PREFIXES}, for {target.spec.name}, whose "
            "spec has a mapping: an archive of another make runs in TorchServe alone (serve start)"
        )
    from nautilus_torchserve.serving.client.in_process import InProcessClient, parse_archive_url  # needs torch

    return InProcessClient(*parse_archive_url(target.url), target.model, target.version)


TRANSPORTS = (
    Transport("http://", _connect_http, is_server=True),
    Transport("https://", _connect_http, is_server=True),
    Transport("mar:", _connect_archive, is_server=False),
)
"""All transports; another one is a line here and a client."""


def _join(prefixes: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(prefixes[:-1]), prefixes[-1])))


URL_PREFIXES = _join([transport.prefix for transport in TRANSPORTS])
"""``http://, https:// or mar:``, for messages."""
SERVER_PREFIXES = _join([transport.prefix for transport in TRANSPORTS if transport.is_server])
"""Prefixes of URLs of servers, for messages."""


def is_url(url: str) -> bool:
    """Return whether a transport reaches this URL."""
    return any(url.startswith(transport.prefix) for transport in TRANSPORTS)


def is_server_url(url: str) -> bool:
    """Return whether this is the URL of a server, rather than of an archive in this process."""
    return any(url.startswith(transport.prefix) for transport in TRANSPORTS if transport.is_server)


def find_transport(url: str) -> Transport:
    """Return the transport of a URL.

    Raises
    ------
    InvalidArgument
        There is none.
    """
    for transport in TRANSPORTS:
        if url.startswith(transport.prefix):
            return transport
    raise InvalidArgument(f"expected a url beginning with {URL_PREFIXES}, got {url!r:.200}")
