"""The clients of a model's versions, each connected when it is first needed, and checked."""

import threading
from collections.abc import Callable

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.user_error import InvalidArgument
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch


class Versions:
    """Clients by version; safe to use from several threads.

    Parameters
    ----------
    url, model, schema, token, timeout_s
        As `serving.client.client.connect` takes them.
    fits : callable, optional
        Given a version's metadata, raises `RequestError` where the caller cannot ask it.

    Raises
    ------
    RequestError
        The default version cannot be reached, or the caller cannot ask it.
    ValueError
        No URL of a server.
    """

    def __init__(
        self,
        url: str,
        model: str,
        schema: FeatureSchema | None,
        token: Token,
        timeout_s: float,
        fits: Callable[[ModelMetadata], None] | None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidArgument(f"url of a server, http:// or https://, expected (a split needs one), was {url!r}")
        self._url, self._model, self._schema, self._token, self._timeout_s = url, model, schema, token, timeout_s
        self._fits = fits
        self._lock = threading.Lock()
        self._clients: dict[str, InferenceClient] = {}
        self.default = self._connected(None)
        """Of the server's default version, whichever that is at each request."""

    def client(self, version: str) -> InferenceClient:
        """The client of a version's own route; empty: `default`.

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
        made = self._connected(version)
        with self._lock:
            client = self._clients.setdefault(version, made)
        if client is not made:  # another thread was faster
            made.close()
        return client

    def default_version(self) -> str:
        """Ask the server which version its default one is; raises what connecting does."""
        client = self._connected(None)
        client.close()
        return client.metadata.version

    def close(self) -> None:
        """Give all connections back; nobody may be asking any more."""
        for client in (self.default, *self._clients.values()):
            client.close()

    def _connected(self, version: str | None) -> InferenceClient:
        try:
            client = connect(
                self._url, self._model, version, schema=self._schema, token=self._token, timeout_s=self._timeout_s
            )
        except (KeyError, ValueError) as error:  # what answers is no archive of ours
            raise SchemaMismatch(f"{self._model} {version or ''}: a description expected: {error!r}") from error
        try:
            if self._fits is not None:
                self._fits(client.metadata)
        except RequestError:
            client.close()
            raise
        return client
