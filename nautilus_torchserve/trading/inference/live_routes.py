"""Ways to ask a server's versions: one of them, its default one with instruments that stay, or as a split says."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.client.client import InferenceClient, PredictionResponse, connect
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.traffic.assignment import Assignment, Route
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.traffic.versions import Versions
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch, UnknownModel

PATIENCE = 2
"""A request is waited for so many times its deadline's length: an answer until then tells a slow server from none."""


class Routes(Protocol):
    """Which version a question goes to, and the asking; see `traffic.router.Router`, which is
    one.
    """

    @property
    def assignment(self) -> Assignment | None:
        """Which version each instrument is with; None where there is one version only."""

    @property
    def metadata(self) -> ModelMetadata:
        """Of the version that was asked at the start, see `InferenceClient.metadata`."""

    def route(self, instrument_id: str, ts_ns: int, held: bool = False) -> Route:
        """Where the next request about an instrument goes."""

    def ask(
        self,
        route: Route,
        inputs: Inputs,
        about: Sequence[tuple[str, ...]],
        ts_ns: int,
        deadline_ns: int | None = None,
    ) -> PredictionResponse:
        """Send one request and wait for its answer; raises RequestError."""

    def leaving(self, instrument_id: str, ts_ns: int) -> bool:
        """Whether an instrument is to change version as soon as it has no position."""

    def close(self) -> None:
        """Give back what was opened."""


class OneVersion:
    """Everything goes to one client: of a fixed version, or of an archive in this process."""

    assignment = None

    def __init__(self, client: InferenceClient) -> None:
        self.metadata: ModelMetadata = client.metadata
        self._client = client

    def route(self, instrument_id: str, ts_ns: int, held: bool = False) -> Route:
        return Route()

    def ask(
        self,
        route: Route,
        inputs: Inputs,
        about: Sequence[tuple[str, ...]],
        ts_ns: int,
        deadline_ns: int | None = None,
    ) -> PredictionResponse:
        return self._client.predict(inputs, deadline_ns)

    def leaving(self, instrument_id: str, ts_ns: int) -> bool:
        return False

    def close(self) -> None:
        self._client.close()


class DefaultVersion:
    """Questions go to the server's default version, but an instrument that is held stays with the one it is with."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self.metadata: ModelMetadata = versions.default.metadata
        self.assignment = Assignment(self.metadata.version)

    def route(self, instrument_id: str, ts_ns: int, held: bool = False) -> Route:
        return self.assignment.route(instrument_id, ts_ns, held)[0]

    def ask(
        self,
        route: Route,
        inputs: Inputs,
        about: Sequence[tuple[str, ...]],
        ts_ns: int,
        deadline_ns: int | None = None,
    ) -> PredictionResponse:
        try:
            answer = self._versions.client(route.version).predict(inputs, deadline_ns)
        except UnknownModel:
            self.assignment.forget(route.version)
            raise
        self.assignment.answered(route, answer.version, itertools.chain.from_iterable(about))
        return answer

    def leaving(self, instrument_id: str, ts_ns: int) -> bool:
        return self.assignment.leaving(instrument_id, ts_ns)

    def refresh(self) -> None:
        """Connect the versions that instruments may stay with, and hear which the default one is where nobody asks it.

        What fails here is told to who asks.
        """
        for version in self.assignment.kept():
            with suppress(RequestError):
                self._versions.client(version)
        heard, self.assignment.heard_of_default = self.assignment.heard_of_default, False
        if not heard:
            with suppress(RequestError):
                self.assignment.on_default_version(self._versions.default_version())

    def close(self) -> None:
        self._versions.close()


def open_routes(
    url: str,
    config: ModelActorConfig,
    schema: FeatureSchema,
    fits: Callable[[ModelMetadata], None],
    token: Token,
    store: TrafficStore | None,
) -> Routes:
    """Connect to a server's model as the configuration says.

    Parameters
    ----------
    url : str
        Of this server.
    fits : callable
        Given a version's metadata, raises `RequestError` where the caller cannot ask it.
    store : TrafficStore or None
        With ``config.traffic``: where splits are read.

    Raises
    ------
    RequestError
        It cannot be reached, was trained on other features, or does not fit.
    UnreadableArchive
        The path after ``mar:`` is no archive.
    """
    timeout_s = min(config.timeout_s, PATIENCE * config.live.deadline_ns / 1e9)
    if store is not None:
        return Router(url, config.model, store, schema=schema, token=token, timeout_s=timeout_s, fits=fits)
    if config.version is None and not url.startswith("mar:"):
        return DefaultVersion(Versions(url, config.model, schema, token, timeout_s, fits))
    return OneVersion(connect_version(url, config, config.version, schema, fits, token))


def connect_version(
    url: str,
    config: ModelActorConfig,
    version: str | None,
    schema: FeatureSchema,
    fits: Callable[[ModelMetadata], None],
    token: Token,
) -> InferenceClient:
    """A version's client, checked; raises as `open_routes`."""
    timeout_s = min(config.timeout_s, PATIENCE * config.live.deadline_ns / 1e9)
    try:
        client = connect(url, config.model, version, schema=schema, token=token, timeout_s=timeout_s)
    except UnreadableArchive:
        raise
    except (KeyError, ValueError) as error:  # what answers is no archive of ours
        raise SchemaMismatch(f"{config.model} {version or ''}: a description expected: {error!r}") from error
    try:
        fits(client.metadata)
    except RequestError:
        client.close()
        raise
    return client
