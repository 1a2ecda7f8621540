"""The servers of a model in a live run: circuit breakers, connections, probes, tokens, and the choice among them."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.client.breaker import Breaker, BreakerState
from nautilus_torchserve.serving.client.client import Inputs, PredictionResponse
from nautilus_torchserve.serving.client.transports import is_server_url
from nautilus_torchserve.serving.token_source import TokenSource
from nautilus_torchserve.serving.tokens import NoToken, Token
from nautilus_torchserve.trading.inference.config import DispatcherConfig, ModelActorConfig
from nautilus_torchserve.trading.inference.messages import ModelHealth
from nautilus_torchserve.trading.isolate_errors import HasErrorCount, log_errors
from nautilus_torchserve.traffic.assignment import Assignment, Route
from nautilus_torchserve.traffic.router import open_routes
from nautilus_torchserve.traffic.routes import DefaultRoute, Routes
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore
from nautilus_torchserve.traffic.versions import CheckMetadata, ModelConnector
from nautilus_torchserve.wire import errors
from nautilus_torchserve.wire.errors import RequestError

SLOW = "no answer within the deadline"
"""Beginning of the reason of a breaker that late responses opened."""
PATIENCE = 2
"""Multiple of the deadline's length for which a response is waited for: that tells a slow server from none."""
REFRESH_S = 1.0
"""Interval between two looks at tokens and default versions (seconds)."""


class Endpoint:
    """One server, its circuit breaker and its connections.

    Two threads share it: one sends requests while the breaker is closed, one probes and connects while it is open.

    Parameters
    ----------
    connector : ModelConnector
        The model at this server.
    config : ModelActorConfig
    on_health : callable
        Called with each change of health, from either thread.
    now_ns : callable
        The node's clock.
    """

    def __init__(
        self,
        connector: ModelConnector,
        config: ModelActorConfig,
        on_health: Callable[[ModelHealth], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.url = connector.url
        self.why = "not connected yet"
        """Why it gets no requests; empty where it gets them."""
        self.routes: Routes | None = None
        """As of the last connection; None before the first."""
        self._connector, self._config = connector, config
        self._on_health, self._now_ns = on_health, now_ns
        live = config.live
        self._breaker = Breaker(
            live.failures_to_open,
            live.probe_after_ns,
            live.max_probe_after_ns,
            time.monotonic_ns,
            live.refusals_to_open,
        )
        self._lock = threading.Lock()
        self._checked: set[tuple[str, str]] = set()  # (version, digest)
        self._last_checked = "", ""
        self._reported: tuple[str, ...] = ()

    @property
    def is_available(self) -> bool:
        """Whether it gets requests."""
        return self._breaker.lets_through

    @property
    def probe_in_ns(self) -> int | None:
        """Time until the next `probe` (nanoseconds); None where none is due."""
        return self._breaker.probe_in_ns

    def send(
        self, route: Route, inputs: Inputs, subjects: Sequence[tuple[str, ...]], ts_ns: int, deadline_ns: int
    ) -> PredictionResponse:
        """Send one request; see `traffic.routes.Routes.send`.

        Raises
        ------
        RequestError
            There is no response, or it is by a version that the caller cannot use.
        """
        assert self.routes is not None
        response = self.routes.send(route, inputs, subjects, ts_ns, deadline_ns)
        if (response.version, response.digest) not in self._checked:
            self._check_version(response)
        return response

    def record_response(self, in_time: bool) -> None:
        """Record a response."""
        if in_time:
            self._change(Breaker.succeeded, "")
        else:
            self._change(Breaker.failed, f"{SLOW} of {self._config.live.deadline_ns / 1e6:g} ms")

    def record_failure(self, error: RequestError, route: Route) -> None:
        """Record a failed request.

        What the server finds in a request's content may be right, and what the client found before it sent anything
        is no fault of the server, unless its description is wrong; a version on trial may fail (the trial's gates end
        that), and where a version is gone its instruments go to the others: these count as refusals. Everything else
        is the server's fault.
        """
        is_gone = isinstance(error, errors.UnknownModel) and route.version
        if isinstance(error, errors.CONTENT_ERRORS + errors.CLIENT_CHECKED_ERRORS) or route.on_trial or is_gone:
            change = Breaker.refused
        else:
            change = Breaker.trip if isinstance(error, errors.SchemaMismatch) else Breaker.failed
        self._change(change, error_text(error))

    def probe(self, open_store: Callable[[], TrafficStore | None]) -> None:
        """Connect anew; where that works, the next request decides whether the server is well.

        Parameters
        ----------
        open_store : callable
            Opens the store of traffic splits; returns None where there is none.
        """
        why = "the probe was interrupted"
        try:
            if isinstance(self._connector.token, TokenSource):
                with suppress(NoToken):  # the server decides about the one at hand, and its error says why
                    self._connector.token.refresh()
            self._connect(open_store())
            why = ""
        except (RequestError, StoreFailed, UnreadableArchive) as error:
            why = error_text(error)
        finally:
            self._change(lambda breaker: breaker.probed(is_well=not why), why)

    def refresh(self) -> None:
        """Keep token and versions fresh while it gets requests.

        Raises
        ------
        NoToken, RequestError
            The token cannot be read or renewed; the last one stays in use.
        """
        if not self.is_available:
            return
        if isinstance(self.routes, DefaultRoute):
            self.routes.refresh()
        if isinstance(self._connector.token, TokenSource):
            self._connector.token.refresh()

    def close(self) -> None:
        """Close the connections; no request may be under way."""
        if self.routes is not None:
            self.routes.close()

    def _connect(self, store: TrafficStore | None) -> None:
        routes = open_routes(self._connector, self._config.version, store, keep_versions=True)
        before, self.routes = self.routes, routes
        self._last_checked = routes.metadata.version, routes.metadata.archive_digest
        self._checked = {self._last_checked}
        if before is not None:
            if before.assignment is not None and routes.assignment is not None:
                routes.assignment.inherit(before.assignment)
            before.close()

    def _check_version(self, response: PredictionResponse) -> None:
        """Check a version that has not responded before, as when connecting."""
        self._connector.connect(response.version).close()
        for version, digest in self._checked:
            if version == response.version and digest != response.digest:
                raise errors.ModelChanged(
                    f"{self._config.model} {version}: expected archive {digest[:12]}, got {response.digest[:12]}"
                )
        self._last_checked = response.version, response.digest
        self._checked.add(self._last_checked)

    def _change(self, change: Callable[[Breaker], None], why: str) -> None:
        """Change the breaker's state, and report the health where it differs from the last report."""
        with self._lock:
            change(self._breaker)
            state = self._breaker.state
            self.why = why if state is BreakerState.OPEN else ""
            health = str(state), self.why.partition(":")[0], *self._last_checked  # messages vary by milliseconds
            has_changed, self._reported = health != self._reported, health
        if has_changed:
            version, digest = self._last_checked
            self._on_health(
                ModelHealth(self._config.model, self.url, str(state), self.why, version, digest, self._now_ns())
            )


class EndpointPool:
    """The servers of a model in order of preference: the first one available gets the requests.

    An instrument stays with its version where its requests go to another server.

    Parameters
    ----------
    config : ModelActorConfig
    schema : FeatureSchema
        The features that the actor computes.
    check_metadata : callable, optional
        As `traffic.versions.ModelConnector` takes it.
    on_health : callable
        Called with each change of a server's health, from any thread.
    now_ns : callable
        The node's clock.
    owner : HasErrorCount
        Counts and logs internal errors.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        schema: FeatureSchema,
        check_metadata: CheckMetadata | None,
        on_health: Callable[[ModelHealth], None],
        now_ns: Callable[[], int],
        owner: HasErrorCount,
    ) -> None:
        self._owner = owner
        self._traffic = config.traffic
        self._store: TrafficStore | None = None
        urls = (config.url, *config.live.fallback_urls)
        tokens = server_tokens(config.url, config.live, os.environ.get(config.token_env))
        timeout_s = min(config.timeout_s, PATIENCE * config.live.deadline_ns / 1e9)
        self._endpoints = [
            Endpoint(
                ModelConnector(url, config.model, schema, token, timeout_s, check_metadata, config.model_spec()),
                config,
                self._report_health,
                now_ns,
            )
            for url, token in zip(urls, tokens, strict=True)
        ]
        self._in_use: Endpoint | None = None
        self._assignment: Assignment | None = None
        self._token_errors: dict[str, str] = {}  # url -> the last one logged
        self._on_health = on_health
        self._stopped = False
        self._wake = threading.Event()

    @property
    def is_available(self) -> bool:
        """Whether any server gets requests."""
        return any(endpoint.is_available for endpoint in self._endpoints)

    @property
    def why(self) -> str:
        """Why no server gets requests."""
        return "; ".join(f"{endpoint.url}: {endpoint.why}" for endpoint in self._endpoints)

    def select(self) -> Endpoint | None:
        """Return the server of the next request; to be called by the thread that sends it."""
        endpoint = next((endpoint for endpoint in self._endpoints if endpoint.is_available), None)
        if endpoint is None or endpoint.routes is None:
            return None
        assignment = endpoint.routes.assignment
        if self._assignment is not None and assignment is not None and assignment is not self._assignment:
            assignment.inherit(self._assignment)
        self._in_use, self._assignment = endpoint, assignment
        return endpoint

    def pending_version_change(self, instrument_id: str, ts_event: int) -> bool:
        """Return whether an instrument changes version as soon as it has no position."""
        routes = None if self._in_use is None else self._in_use.routes
        return routes is not None and routes.pending_version_change(instrument_id, ts_event)

    def watch(self) -> None:
        """Connect, probe and refresh until `stop` is called, or the process is about to end; runs in a thread."""
        while not self._stopped and threading.main_thread().is_alive():
            self._wake.clear()
            for endpoint in self._endpoints:
                if not self._stopped:
                    with log_errors(self._owner, f"watching {endpoint.url}"):
                        self._maintain(endpoint)
            waits = [endpoint.probe_in_ns for endpoint in self._endpoints]
            self._wake.wait(min([REFRESH_S, *(wait / 1e9 for wait in waits if wait is not None)]))

    def stop(self) -> None:
        """Let `watch` return after its current step."""
        self._stopped = True
        self._wake.set()

    def close(self) -> None:
        """Close all connections; neither `watch` nor a request may be under way."""
        for endpoint in self._endpoints:
            with log_errors(self._owner, f"closing {endpoint.url}"):
                endpoint.close()
        if self._store is not None:
            self._store.close()

    def _report_health(self, health: ModelHealth) -> None:
        self._wake.set()  # a probe may have become due
        self._on_health(health)

    def _maintain(self, endpoint: Endpoint) -> None:
        if endpoint.probe_in_ns == 0:
            endpoint.probe(self._open_store)
        try:
            endpoint.refresh()
        except (NoToken, RequestError) as error:
            if self._token_errors.get(endpoint.url) != error_text(error):
                self._owner.log.warning(f"{endpoint.url}: the token is not renewed: {error_text(error)}")
            self._token_errors[endpoint.url] = error_text(error)
        else:
            self._token_errors.pop(endpoint.url, None)

    def _open_store(self) -> TrafficStore | None:
        if self._traffic is not None and self._store is None:
            self._store = TrafficStore(self._traffic)
        return self._store


def server_tokens(url: str, live: DispatcherConfig, fixed: str | None) -> list[Token]:
    """Return the tokens of a server and its fallbacks, in this order.

    Parameters
    ----------
    fixed : str, optional
        The token of those servers for which ``live`` names no key file.
    """
    first: Token = fixed
    if live.token_file is not None and is_server_url(url):
        first = TokenSource(Path(live.token_file), live.renew_url, live.renew_before_ns)
    if not live.fallback_token_files:
        return [first] * (1 + len(live.fallback_urls))
    renew_urls = live.fallback_renew_urls or (None,) * len(live.fallback_token_files)
    others = zip(live.fallback_token_files, renew_urls, strict=True)
    return [first, *(TokenSource(Path(file), url, live.renew_before_ns) for file, url in others)]


def error_text(error: Exception) -> str:
    """Return ``Kind: message``."""
    return f"{type(error).__name__}: {error}"
