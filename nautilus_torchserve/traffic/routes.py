"""The routes of a model's requests: one version, or the server's default version; `traffic.router` follows a split."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, PredictionResponse
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.traffic.assignment import Assignment, Route
from nautilus_torchserve.traffic.versions import VersionClients
from nautilus_torchserve.wire.errors import RequestError, UnknownModel

Subjects = Sequence[tuple[str, ...]]
"""The instruments that each input of a request is about; of a text there may be several."""


class Routes(ABC):
    """Chooses the version that answers a request, and sends it there."""

    metadata: ModelMetadata
    """Metadata of the version that was connected at the start, see `InferenceClient.metadata`."""
    assignment: Assignment | None = None
    """The version of each instrument; None where there is no choice."""

    @abstractmethod
    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool = False) -> Route:
        """Return the route of the next request about an instrument.

        Parameters
        ----------
        ts_ns : int
            When the newest event that it is about happened, Unix ns.
        has_exposure : bool
            Whether a position or an order on the instrument is open.
        """

    @abstractmethod
    def send(
        self, route: Route, inputs: Inputs, subjects: Subjects, ts_ns: int, deadline_ns: int | None = None
    ) -> PredictionResponse:
        """Send one request and wait for its response.

        Parameters
        ----------
        route : Route
            What `route` returned for each of the instruments.
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
        return self.assignment is not None and self.assignment.pending_version_change(instrument_id, ts_ns)

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""


class FixedRoute(Routes):
    """Sends everything through one client.

    Parameters
    ----------
    client : InferenceClient
        Of a fixed version, of an archive in this process, or of whichever version is the server's default one.
    """

    def __init__(self, client: InferenceClient) -> None:
        self.metadata = client.metadata
        self._client = client

    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool = False) -> Route:
        return Route()

    def send(
        self, route: Route, inputs: Inputs, subjects: Subjects, ts_ns: int, deadline_ns: int | None = None
    ) -> PredictionResponse:
        return self._client.predict(inputs, deadline_ns)

    def close(self) -> None:
        self._client.close()


class DefaultRoute(Routes):
    """Sends requests to the server's default version; an instrument with exposure stays with the one that it has.

    Parameters
    ----------
    versions : VersionClients
    """

    def __init__(self, versions: VersionClients) -> None:
        self._versions = versions
        self.metadata = versions.default.metadata
        self.assignment: Assignment = Assignment(self.metadata.version)

    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool = False) -> Route:
        return self.assignment.route(instrument_id, ts_ns, has_exposure)[0]

    def send(
        self, route: Route, inputs: Inputs, subjects: Subjects, ts_ns: int, deadline_ns: int | None = None
    ) -> PredictionResponse:
        try:
            response = self._versions.client(route.version).predict(inputs, deadline_ns)
        except UnknownModel:
            self.assignment.forget(route.version)
            raise
        self.assignment.record_response(route, response.version, itertools.chain.from_iterable(subjects))
        return response

    def refresh(self) -> None:
        """Connect the versions that instruments may stay with; look the default version up where no response named it.

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
