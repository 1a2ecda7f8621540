"""Routes the requests of a model as its running split says, and counts their outcomes."""

import itertools
import logging
import math
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.backlog import Backlog, OutageLog
from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, PredictionResponse
from nautilus_torchserve.serving.client.transports import is_server_url
from nautilus_torchserve.traffic.assignment import Assignment, Route
from nautilus_torchserve.traffic.records import CallCounts, ShadowAnswer
from nautilus_torchserve.traffic.routes import DefaultRoute, FixedRoute, Routes, Subjects
from nautilus_torchserve.traffic.split import Kind, Split, State, fraction
from nautilus_torchserve.traffic.store import SplitRefused, StoreFailed, TrafficStore
from nautilus_torchserve.traffic.versions import ModelConnector, VersionClients
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch, UnknownModel

MOST_COPIES = 256
"""Largest number of copies queued for the challenger."""
CLOSE_WITHIN_S = 5.0
"""Longest time for queued copies at the end, beside that of one request (seconds)."""


class ShadowRequest(NamedTuple):
    """A copy of a request that was answered."""

    split: str
    version: str
    """The challenger."""
    inputs: Inputs
    subjects: Subjects
    ts_ns: int
    baseline_outputs: Mapping[str, NDArray[np.float32]]
    """Outputs of the response that the caller got."""


class Shadower:
    """Sends copies to the challenger in a thread of its own, and records its answers.

    Copies beyond `MOST_COPIES`, because the challenger is slower than its traffic, are dropped: its slowness must not
    become the caller's.

    Parameters
    ----------
    model : str
    client : callable
        Returns the client of a version.
    counts : CallCounts
        Copies are counted as the challenger's calls.
    backlog : Backlog
        Takes the `ShadowAnswer`.
    """

    def __init__(
        self, model: str, client: Callable[[str], InferenceClient], counts: CallCounts, backlog: Backlog[ShadowAnswer]
    ) -> None:
        self._model = model
        self._client = client
        self._counts = counts
        self._backlog = backlog
        self._copies: queue.Queue[ShadowRequest | None] = queue.Queue(MOST_COPIES)
        self._end = math.inf
        self.dropped = 0
        """Copies dropped from the full queue, or at the end."""
        self._thread = threading.Thread(target=self._send_until_closed, daemon=True, name=f"shadow-{self._model}")
        self._thread.start()

    def submit(self, request: ShadowRequest) -> None:
        """Queue a copy, or drop it; never waits."""
        if isinstance(request.inputs, np.ndarray):
            request = request._replace(inputs=request.inputs.copy())  # the caller may overwrite its own
        try:
            self._copies.put_nowait(request)
        except queue.Full:
            self._drop(request)

    def close(self) -> None:
        """Send queued copies for `CLOSE_WITHIN_S`, then end."""
        self._end = time.monotonic() + CLOSE_WITHIN_S
        self._copies.put(None)
        self._thread.join()

    def _send_until_closed(self) -> None:
        while (request := self._copies.get()) is not None:
            if time.monotonic() < self._end:
                self._send(request)
            else:
                self._drop(request)

    def _drop(self, request: ShadowRequest) -> None:
        self.dropped += 1
        if self.dropped == 1 or self.dropped % 1_000 == 0:
            _log.warning(
                "%s %s is slower than its traffic: %d copies of shadow %s dropped so far",
                self._model,
                request.version,
                self.dropped,
                request.split,
            )

    def _send(self, request: ShadowRequest) -> None:
        try:
            response = self._client(request.version).predict(request.inputs)
        except RequestError as error:
            self._counts.record_failure(request.split, request.version)
            reason, latency_ms, outputs = f"{type(error).__name__}: {error}", 0.0, {}
        else:
            self._counts.record_response(request.split, request.version, response.latency_ns, response.outputs)
            reason, latency_ms, outputs = "", response.latency_ns / 1e6, response.outputs
        for row, instrument_ids in enumerate(request.subjects):
            self._backlog.add(
                ShadowAnswer(
                    request.split,
                    self._model,
                    request.version,
                    ",".join(instrument_ids),
                    request.ts_ns,
                    _row(outputs, row),
                    _row(request.baseline_outputs, row),
                    latency_ms,
                    reason,
                )
            )


def _row(outputs: Mapping[str, NDArray[np.float32]], row: int) -> dict[str, float]:
    return {name: values.item(row) for name, values in outputs.items()}


_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


class Router(Routes):
    """The versions of one model, for one process on the trading side; safe to use from several threads.

    A background thread reads the split and writes the counts; the database is never on the path of a prediction.
    While it cannot be reached, the router continues with the split that it knows.

    An instrument with exposure (an open position or order) stays with the version that answered about it last,
    whatever the split says: one model must not close what another one opened for its own reasons. Two things end
    that. A version that was WITHDRAWN is left at once, exposure or not: it failed its gates and must not go on
    managing money. And so is one that the server no longer has (`UnknownModel`), at the request after the one that
    fails for it. Until then `pending_version_change` is true, so that a strategy which is always in the market may
    close its position rather than reverse it.

    A request goes to one version, once. Where that fails, the caller gets the error; the other version is not tried.
    A challenger that cannot be connected gets no requests at all: the baseline gets them, and each of them, like each
    attempt to connect, counts as an error of the challenger, so that its gates see it.

    Parameters
    ----------
    connector : ModelConnector
        The model at a server; an archive in this process (``mar:``) has one version only.
    store : TrafficStore
        Where splits are read; stays the caller's to close.
    refresh_s : float
        Interval between two reads of the split (seconds). For as long, a server's new default version is assumed to
        take the features that the last one took.
    name : str, optional
        Name of this router in the store; default: host, process and a number.

    Raises
    ------
    RequestError
        The default version cannot be reached, or was trained on other features.
    InvalidArgument
        The URL is not a server's.
    """

    def __init__(
        self, connector: ModelConnector, store: TrafficStore, *, refresh_s: float = 1.0, name: str | None = None
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        self._model = model = connector.model
        self._store = store
        self._versions = VersionClients(connector)
        self.metadata = self._versions.default.metadata
        self.assignment: Assignment = Assignment(self.metadata.version)
        self._counts = CallCounts(model, self.name)
        self._backlog = Backlog[ShadowAnswer](store.keep, f"router {self.name} of {model}")
        self._shadower = Shadower(model, self._versions.client, self._counts, self._backlog)
        self._calls = itertools.count()
        self._outage = OutageLog(f"router {self.name} of {model}")
        self._refreshing = threading.Lock()
        self._ended = threading.Event()
        self.refresh()
        self._thread = threading.Thread(
            target=self._refresh_until_closed, args=(refresh_s,), daemon=True, name=f"router-{model}"
        )
        self._thread.start()

    @property
    def split(self) -> Split | None:
        """The running split, as last read."""
        return self.assignment.split

    def predict(
        self, inputs: Inputs, instrument_id: str, ts_ns: int, has_exposure: bool = False, deadline_ns: int | None = None
    ) -> PredictionResponse:
        """Call `route` and `send` for one instrument; their parameters and errors are those of `routes.Routes`."""
        route = self.route(instrument_id, ts_ns, has_exposure)
        return self.send(route, inputs, [(instrument_id,)] * len(inputs), ts_ns, deadline_ns)

    def route(self, instrument_id: str, ts_ns: int, has_exposure: bool = False) -> Route:
        """Return the route of the next request about an instrument."""
        route, missed = self.assignment.route(instrument_id, ts_ns, has_exposure)
        if missed is not None:
            self._counts.record_failure(missed.split, missed.version)
        return route

    def send(
        self, route: Route, inputs: Inputs, subjects: Subjects, ts_ns: int, deadline_ns: int | None = None
    ) -> PredictionResponse:
        """Send one request along a route and wait for its response."""
        try:
            response = self._versions.client(route.version).predict(inputs, deadline_ns)
        except RequestError as error:
            self._counts.record_failure(route.split, route.version or self.assignment.default_version)
            if isinstance(error, UnknownModel):
                self.assignment.forget(route.version)
            raise
        self._counts.record_response(route.split, response.version, response.latency_ns, response.outputs)
        reason = self.assignment.unusable_reason(response.version)
        if isinstance(reason, SchemaMismatch):  # what the server's default version has become since we connected
            raise reason
        self.assignment.record_response(route, response.version, itertools.chain.from_iterable(subjects))
        split, call = self.split, next(self._calls)
        if split is not None and split.kind is Kind.SHADOW and fraction(split.name, f"call {call}") < split.share:
            self._shadower.submit(
                ShadowRequest(split.name, split.challenger, inputs, tuple(subjects), ts_ns, response.outputs)
            )
        return response

    def refresh(self) -> None:
        """Read the split, connect the versions that it names, and write counts and records.

        The background thread calls this at its interval. A store that cannot be reached is logged, once an outage.
        """
        with self._refreshing:
            try:
                self._follow(self._store.running(self._model))  # first: a version may have been withdrawn
                self._flush()  # before the store records that a version is left: then all counts of it are there
                self._store.heartbeat(self.name, self._model, self.assignment.versions_in_use())
            except StoreFailed as error:
                self._outage.begin(error)
            else:
                self._outage.end()
            for version in self.assignment.assigned_versions():  # no request waits for that where a position keeps one
                self._can_connect(version)
            self._refresh_default()

    def close(self) -> None:
        """Stop, and write counts and records. What the store does not take now is lost, and logged."""
        self._ended.set()
        self._thread.join()
        self._shadower.close()
        try:
            self._flush()
            self._store.unregister(self.name, self._model)
        except StoreFailed as error:
            lost = sum(window.requests for window in self._counts.take())
            _log.error(
                "router %s of %s: the counts of %d calls and %d records are lost: %s",
                self.name,
                self._model,
                lost,
                len(self._backlog),
                error,
            )
        self._versions.close()

    def __enter__(self) -> "Router":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refresh_until_closed(self, refresh_s: float) -> None:
        while not self._ended.wait(refresh_s):
            self.refresh()

    def _follow(self, split: Split | None) -> None:
        """Adopt the split that is running now; its versions are connected before anything is sent to them."""
        before = self.split
        if split is not None:
            for version in (split.baseline, split.challenger):
                if not self._can_connect(version):
                    self._counts.record_failure(split.name, version)
        ended = before is not None and (split is None or split.name != before.name)
        withdrawn = before.challenger if before is not None and ended and self._was_withdrawn(before) else None
        self.assignment.follow(split, withdrawn)
        if split != before:
            _log.info("%s: the split is %s, was %s", self._model, _describe(split), _describe(before))

    def _was_withdrawn(self, split: Split) -> bool:
        try:
            return self._store.split(split.name).state is State.WITHDRAWN
        except SplitRefused:  # another database is there now, which does not have it
            return False

    def _can_connect(self, version: str) -> bool:
        """Connect a version, or record why it cannot be; the next refresh tries it again."""
        reason: RequestError | None = None
        try:
            self._versions.client(version)
        except RequestError as error:
            reason = error
        if self.assignment.mark_unusable(version, reason) and reason is not None:
            _log.error("%s %s is unusable: %s: %s", self._model, version, type(reason).__name__, reason)
        return reason is None

    def _refresh_default(self) -> None:
        """Look the default version up where no request goes to it, because positions keep their versions."""
        was_seen = self.assignment.take_default_seen()
        if self.split is None and not was_seen:
            with suppress(RequestError):  # left to the request that meets it
                self.assignment.on_default_version(self._versions.default_version())

    def _flush(self) -> None:
        windows = self._counts.take()
        try:
            self._store.keep(windows)
        except StoreFailed:
            self._counts.put_back(windows)
            raise
        self._backlog.flush()


def _describe(split: Split | None) -> str:
    return "none" if split is None else f"{split.kind} {split.name} with {split.share:g} to {split.challenger}"


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
