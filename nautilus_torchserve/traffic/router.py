"""Asks the version of a model that the running split says, and counts what comes of it."""

import itertools
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.traffic.assignment import Assignment, Route
from nautilus_torchserve.traffic.backlog import Backlog, Outage
from nautilus_torchserve.traffic.counts import CallCounts
from nautilus_torchserve.traffic.shadow import Copy, Shadower
from nautilus_torchserve.traffic.split import Kind, Split, State, fraction
from nautilus_torchserve.traffic.store import SplitRefused, StoreFailed, TrafficStore
from nautilus_torchserve.traffic.versions import Versions
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch, UnknownModel

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


class Router:
    """One model's versions, for one process on the trading side; safe to use from several threads.

    A background thread reads the split and writes what was counted; the database is never on the way of a
    prediction. While it cannot be reached, the router goes on with the split that it knows.

    An instrument with a position open (``held``) stays with the version whose answer it got last, whatever the
    split says: one model must not close what another one opened for its own reasons. Two things end that. A
    version that was WITHDRAWN is left at once, position or not: it failed its gates and must not go on managing
    money. And so is one that the server has no more (`UnknownModel`), at the request after the one that says so.
    Until then `leaving` says that the instrument is to change, so that a strategy which is always in the market may
    close its position rather than turn it.

    A request goes to one version, once. Where that fails, the caller is told; the other version is not asked. A
    challenger that cannot be connected gets no requests at all: the baseline has them, and each of them, like each
    attempt to connect, counts as an error of the challenger, so that its gates see it.

    Parameters
    ----------
    url : str
        The inference port, ``http://`` or ``https://``: an archive in this process (``mar:``) has one version only.
    model : str
        The registered name.
    store : TrafficStore
        Where splits are read; stays the caller's to close.
    schema : FeatureSchema, optional
        The features that the caller computes; a version that was trained on others cannot be connected.
    token : Token, optional
        TorchServe's inference token, or what says which it is at each request.
    timeout_s : float
        Longest wait for one answer, seconds.
    refresh_s : float
        Between two readings of the split, seconds. For as long, a server's new default version is believed to take
        the features that the last one took.
    name : str, optional
        Who asks, in the store; left out: host, process and a number.
    fits : callable, optional
        Given a version's metadata, raises `RequestError` where the caller cannot ask it.

    Raises
    ------
    RequestError
        The default version cannot be reached, or was trained on other features.
    ValueError
        No URL of a server.
    """

    def __init__(
        self,
        url: str,
        model: str,
        store: TrafficStore,
        *,
        schema: FeatureSchema | None = None,
        token: Token = None,
        timeout_s: float = 5.0,
        refresh_s: float = 1.0,
        name: str | None = None,
        fits: Callable[[ModelMetadata], None] | None = None,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        self._model = model
        self._store = store
        self._versions = Versions(url, model, schema, token, timeout_s, fits)
        self._assignment = Assignment(self.metadata.version)
        self._counts = CallCounts(model, self.name)
        self._backlog = Backlog(store)
        self._shadower = Shadower(model, self._versions.client, self._counts, self._backlog)
        self._calls = itertools.count()
        self._outage = Outage(f"router {self.name} of {model}")
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
        return self._assignment.split

    @property
    def assignment(self) -> Assignment:
        """Which version each instrument is with."""
        return self._assignment

    @property
    def metadata(self) -> ModelMetadata:
        """Of the version that was the server's default one at the start, see `InferenceClient.metadata`."""
        return self._versions.default.metadata

    def predict(
        self, inputs: Inputs, instrument_id: str, ts_ns: int, held: bool = False, deadline_ns: int | None = None
    ) -> PredictionResponse:
        """`route` and `ask` for one instrument.

        Parameters
        ----------
        inputs
            As `InferenceClient.predict` takes them.
        instrument_id : str
            What they are about.
        ts_ns : int
            When the newest event among them happened, Unix nanoseconds.
        held : bool
            Whether a position on the instrument is open.
        deadline_ns : int, optional
            Unix nanoseconds; a request that is late is not computed.

        Raises
        ------
        RequestError
            As `InferenceClient.predict`.
        """
        route = self.route(instrument_id, ts_ns, held)
        return self.ask(route, inputs, [(instrument_id,)] * len(inputs), ts_ns, deadline_ns)

    def route(self, instrument_id: str, ts_ns: int, held: bool = False) -> Route:
        """Where the next request about an instrument goes; see `predict` for the parameters."""
        route, missed = self._assignment.route(instrument_id, ts_ns, held)
        if missed is not None:
            self._counts.failed(missed.split, missed.version)
        return route

    def ask(
        self,
        route: Route,
        inputs: Inputs,
        about: Sequence[tuple[str, ...]],
        ts_ns: int,
        deadline_ns: int | None = None,
    ) -> PredictionResponse:
        """Send one request along a route and wait for the answer.

        Parameters
        ----------
        route : Route
            What `route` said of each of the instruments.
        about : sequence of tuples of str
            The instruments that each of the inputs is about; of a text there may be several.

        Raises
        ------
        RequestError
            As `InferenceClient.predict`.
        """
        try:
            answer = self._versions.client(route.version).predict(inputs, deadline_ns)
        except RequestError as error:
            self._counts.failed(route.split, route.version or self._assignment.default_version)
            if isinstance(error, UnknownModel):
                self._assignment.forget(route.version)
            raise
        self._counts.answered(route.split, answer.version, answer.latency_ns, answer.outputs)
        unfit = self._assignment.unfit(answer.version)
        if isinstance(unfit, SchemaMismatch):  # what the server's default version has become since we connected
            raise unfit
        self._assignment.answered(route, answer.version, itertools.chain.from_iterable(about))
        split, call = self.split, next(self._calls)
        if split is not None and split.kind is Kind.SHADOW and fraction(split.name, f"call {call}") < split.share:
            copy = Copy(split.name, split.challenger, inputs, tuple(about), ts_ns, answer.outputs)
            self._shadower.take(copy)
        return answer

    def leaving(self, instrument_id: str, ts_ns: int) -> bool:
        """Whether an instrument is to change version as soon as it has no position."""
        return self._assignment.leaving(instrument_id, ts_ns)

    def split_name(self) -> str:
        """The running split's name, as last read; empty without one."""
        split = self.split
        return "" if split is None else split.name

    def refresh(self) -> None:
        """Read the split, connect the versions that it names, and write what was counted and recorded.

        The background thread does this all the time. A store that cannot be reached is logged, once an outage.
        """
        with self._refreshing:
            try:
                self._follow(self._store.running(self._model))  # first: a version may have been withdrawn
                self._flush()  # before the store hears that a version is left: then all that was counted of it is there
                self._store.heartbeat(self.name, self._model, self._assignment.in_use())
            except StoreFailed as error:
                self._outage.begin(error)
            else:
                self._outage.end()
            self._connect_kept()
            self._hear_default()

    def close(self) -> None:
        """Ask no more; write what was counted and recorded. What the store does not take then is lost, and logged."""
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
        """Take up the split that is running now; its versions are connected before anything is sent to them."""
        before = self.split
        if split is not None:
            for version in (split.baseline, split.challenger):
                if not self._can_connect(version):
                    self._counts.failed(split.name, version)
        ended = before is not None and (split is None or split.name != before.name)
        withdrawn = before.challenger if before is not None and ended and self._was_withdrawn(before) else None
        self._assignment.follow(split, withdrawn)
        if split != before:
            _log.info("%s: the split is %s, was %s", self._model, _words(split), _words(before))

    def _was_withdrawn(self, split: Split) -> bool:
        try:
            return self._store.split(split.name).state is State.WITHDRAWN
        except SplitRefused:  # another database is there now, which never knew of it
            return False

    def _can_connect(self, version: str) -> bool:
        """Connect a version, or remember why it cannot be; it is tried again at the next refresh."""
        why: RequestError | None = None
        try:
            self._versions.client(version)
        except RequestError as error:
            why = error
        if self._assignment.mark_unusable(version, why) and why is not None:
            _log.error("%s %s cannot be asked: %s: %s", self._model, version, type(why).__name__, why)
        return why is None

    def _connect_kept(self) -> None:
        """Connect the versions that answered, so that no request has to wait for that where a position keeps one."""
        for version in self._assignment.kept():
            self._can_connect(version)

    def _hear_default(self) -> None:
        """Where nobody asks the default route, because positions keep their versions, ask which version it is."""
        heard, self._assignment.heard_of_default = self._assignment.heard_of_default, False
        if self.split is None and not heard:
            with suppress(RequestError):  # told to who asks it
                self._assignment.on_default_version(self._versions.default_version())

    def _flush(self) -> None:
        windows = self._counts.take()
        try:
            self._store.keep(windows)
        except StoreFailed:
            self._counts.put_back(windows)
            raise
        self._backlog.flush()


def _words(split: Split | None) -> str:
    return "none" if split is None else f"{split.kind} {split.name} with {split.share:g} to {split.challenger}"
