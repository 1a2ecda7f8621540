"""Connections to the versions of a model, each checked when it is made."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.client.transports import SERVER_PREFIXES, is_server_url
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.user_error import InvalidArgument
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch

CheckMetadata = Callable[[ModelMetadata], None]
"""Raises `RequestError` where the caller cannot use a version with this metadata."""


@dataclass(frozen=True)
class ModelConnector:
    """Connects to versions of one model at one server, or to an archive in this process."""

    url: str
    """The inference port, ``http://`` or ``https://``, or ``mar:PATH`` of an archive."""
    model: str
    """The registered name."""
    schema: FeatureSchema | None = None
    """The features that the caller computes; a version that was trained on others is refused."""
    token: Token = None
    """The inference token, or what supplies it at each request."""
    timeout_s: float = 5.0
    """Longest wait for one response (seconds)."""
    check_metadata: CheckMetadata | None = None
    """See `CheckMetadata`."""
    spec: ModelSpec | None = None
    """The model's spec, see `serving.client.client.connect`."""

    def connect(self, version: str | None = None) -> InferenceClient:
        """Connect to a version, or with None to the server's default one, whichever that is at each request.

        Raises
        ------
        RequestError
            It cannot be reached, was trained on other features, or does not suit the caller.
        UnreadableArchive
            The path after ``mar:`` is no archive.
        """
        try:
            client = connect(
                self.url,
                self.model,
                version,
                schema=self.schema,
                spec=self.spec,
                token=self.token,
                timeout_s=self.timeout_s,
            )
        except UnreadableArchive:
            raise
        except (KeyError, ValueError) as error:  # not an archive of this library
            raise SchemaMismatch(f"{self.model} {version or ''}: expected a description, got {error!r}") from error
        try:
            if self.check_metadata is not None:
                self.check_metadata(client.metadata)
        except RequestError:
            client.close()
            raise
        return client


class VersionClients:
    """Clients by version, each connected when it is first needed; safe to use from several threads.

    Parameters
    ----------
    connector : ModelConnector

    Raises
    ------
    RequestError
        The default version cannot be reached, or does not suit the caller.
    InvalidArgument
        The URL is not a server's.
    """

    def __init__(self, connector: ModelConnector) -> None:
        url = connector.url
        if not is_server_url(url):
            raise InvalidArgument(f"expected the url of a server, {SERVER_PREFIXES} (a split needs one), got {url!r}")
        self._connector = connector
        self._lock = threading.Lock()
        self._clients: dict[str, InferenceClient] = {}
        self.default = connector.connect()
        """Client of the server's default version, whichever that is at each request."""

    def client(self, version: str) -> InferenceClient:
        """Return the client of a version's own route; of an empty one, `default`.

        Raises
        ------
        RequestError
            It has to be connected first, and cannot be.
        """
        if not version:
            return self.default
        with self._lock:
            client = self._clients.get(version)
        if client is not None:
            return client
        connected = self._connector.connect(version)
        with self._lock:
            client = self._clients.setdefault(version, connected)
        if client is not connected:  # another thread was faster
            connected.close()
        return client

    def default_version(self) -> str:
        """Return the server's default version, as of now; raises as `ModelConnector.connect`."""
        client = self._connector.connect()
        client.close()
        return client.metadata.version

    def close(self) -> None:
        """Close all clients; no request may be under way."""
        for client in (self.default, *self._clients.values()):
            client.close()
