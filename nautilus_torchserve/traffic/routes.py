"""The routes of a model's requests: one version, the server's default version, or the versions of a running split."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, PredictionResponse
from nautilus_torchserve.serving.client.transports import is_server_url
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.traffic.assignment import Assignment, Route
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.traffic.versions import ModelConnector, VersionClients
from nautilus_torchserve.wire.errors import RequestError, UnknownModel


class Routes(Protocol):
    """Chooses the version that answers a request, and sends it there.

    Implemented by `FixedRoute`, `DefaultRoute` and `traffic.router.Router`.
    """

    @property
    def assignment(self) -> Assignment | None:
        """The version of each instrument; None where there is no choice."""

    @property
    def metadata(self) -> ModelMetadata:
        """Metadata of the version that was connected at the start, see `InferenceClient.metadata`."""

    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool = False) -> Route:
        """Return the route of the next request about an instrument.

        Parameters
        ----------
        ts_ns : int
            When the newest event that it is about happened, Unix ns.
        has_exposure : bool
            Whether a position or an order on the instrument is open.
        """

    def send(
        self,
        route: Route,
        inputs: Inputs,
        subjects: Sequence[tuple[str, ...]],
        ts_ns: int,
        deadline_ns: int | None = None,
    ) -> PredictionResponse:
        """Send one request and wait for its response.

        Parameters
        ----------
        route : Route
            What `route` returned for each of the instruments.
        subjects : sequence of tuples of str
            The instruments that each of the inputs is about; of a text there may be several.
        ts_ns : int
            When the newest event among the inputs happened, Unix ns.
        deadline_ns : int, optional
            Unix ns; a request that is late is not computed.

        Raises
        ------
        RequestError
            As `InferenceClient.predict`. Nothing is sent twice.
        """

    def pending_version_change(self, instrument_id: str, ts_ns: int) -> bool:
        """Return whether an instrument changes version as soon as it has no position."""

    def close(self) -> None:
        """Close all connections."""


class FixedRoute:
    """Sends everything through one client.

    Parameters
    ----------
    client : InferenceClient
        Of a fixed version, of an archive in this process, or of whichever version is the server's default one.
    """

    assignment = None

    def __init__(self, client: InferenceClient) -> None:
        self.metadata: ModelMetadata = client.metadata
        self._client = client

    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool = False) -> Route:
        return Route()

    def send(
        self,
        route: Route,
        inputs: Inputs,
        subjects: Sequence[tuple[str, ...]],
        ts_ns: int,
        deadline_ns: int | None = None,
    ) -> PredictionResponse:
        return self._client.predict(inputs, deadline_ns)

    def pending_version_change(self, instrument_id: str, ts_ns: int) -> bool:
        return False

    def close(self) -> None:
        self._client.close()


class DefaultRoute:
    """Sends requests to the server's default version; an instrument with exposure stays with the one that it has.

    Parameters
    ----------
    versions : VersionClients
    """

    def __init__(self, versions: VersionClients) -> None:
        self._versions = versions
        self.metadata: ModelMetadata = versions.default.metadata
        self.assignment = Assignment(self.metadata.version)

    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool = False) -> Route:
        return self.assignment.route(instrument_id, ts_ns, has_exposure)[0]

    def send(
        self,
        route: Route,
        inputs: Inputs,
        subjects: Sequence[tuple[str, ...]],
        ts_ns: int,
        deadline_ns: int | None = None,
    ) -> PredictionResponse:
        try:
            response = self._versions.client(route.version).predict(inputs, deadline_ns)
        except UnknownModel:
            self.assignment.forget(route.version)
            raise
        self.assignment.record_response(route, response.version, itertools.chain.from_iterable(subjects))
        return response

    def pending_version_change(self, instrument_id: str, ts_ns: int) -> bool:
        return self.assignment.pending_version_change(instrument_id, ts_ns)

    def refresh(self) -> None:
        """Connect the versions that instruments may stay with; look the default version up where no response tells it.

        Errors are left to the requests that meet them.
        """
        for version in self.assignment.assigned_versions():
            with suppress(RequestError):
                self._versions.client(version)
        if not self.assignment.take_default_seen():
            with suppress(RequestError):
                self.assignment.on_default_version(self._versions.default_version())

    def close(self) -> None:
        self._versions.close()


def open_routes(
    connector: ModelConnector, version: str | None, store: TrafficStore | None, keep_versions: bool = False
) -> Routes:
    """Connect to a model, and return the routes of its requests.

    Parameters
    ----------
    version : str, optional
        A fixed version; None takes the server's default one.
    store : TrafficStore, optional
        Where splits are read; None: there are none.
    keep_versions : bool
        Whether an instrument with exposure stays with its version when the server's default version changes.

    Raises
    ------
    RequestError, UnreadableArchive
        As `ModelConnector.connect`.
    """
    if store is not None:
        return Router(connector, store)
    if keep_versions and version is None and is_server_url(connector.url):
        return DefaultRoute(VersionClients(connector))
    return FixedRoute(connector.connect(version))
