"""A model's servers in order of preference, connected, probed and kept fresh by a thread of their own."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.token_source import TokenSource
from nautilus_torchserve.serving.tokens import NoToken, Token
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.live_config import LiveCallsConfig
from nautilus_torchserve.trading.inference.live_server import Endpoint, in_words
from nautilus_torchserve.trading.inference.messages import ModelHealth
from nautilus_torchserve.trading.isolate_errors import HasErrorCount, log_errors
from nautilus_torchserve.traffic.assignment import Assignment
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.wire.errors import RequestError

UPKEEP_S = 1.0
"""Between two looks at tokens and default versions, seconds."""


class EndpointPool:
    """The first server that may be asked is asked; the others stand by.

    An instrument stays with its version where it is asked about at another server, too.

    Parameters
    ----------
    config : ModelActorConfig
    schema, fits
        As `trading.inference.live_routes.open_routes` takes them.
    changed : callable
        Told each change of a server's health, from any thread.
    now_ns : callable
        The node's clock.
    owner : Counting
        Who counts and logs errors of our own.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        schema: FeatureSchema,
        fits: Callable[[ModelMetadata], None],
        changed: Callable[[ModelHealth], None],
        now_ns: Callable[[], int],
        owner: HasErrorCount,
    ) -> None:
        self._owner = owner
        self._traffic = config.traffic
        self._store: TrafficStore | None = None
        urls = (config.url, *config.live.fallback_urls)
        tokens = server_tokens(config.url, config.live, os.environ.get(config.token_env))
        self._servers = [
            Endpoint(url, config, schema, fits, token, self._hear, now_ns)
            for url, token in zip(urls, tokens, strict=True)
        ]
        self._in_use: Endpoint | None = None
        self._assignment: Assignment | None = None
        self._said: dict[str, str] = {}  # url -> what was last wrong with its token
        self._changed = changed
        self._ended = False
        self._wake = threading.Event()

    @property
    def is_up(self) -> bool:
        """Whether any server may be asked."""
        return any(server.lets_through for server in self._servers)

    @property
    def why_not(self) -> str:
        """In words, why none may be."""
        return "; ".join(f"{server.url}: {server.why}" for server in self._servers)

    @property
    def in_use(self) -> Endpoint | None:
        """The server that was asked last."""
        return self._in_use

    def pick(self) -> Endpoint | None:
        """The server to ask now; to be called by the thread that asks."""
        server = next((server for server in self._servers if server.lets_through), None)
        if server is None or server.routes is None:
            return None
        assignment = server.routes.assignment
        if self._assignment is not None and assignment is not None and assignment is not self._assignment:
            assignment.inherit(self._assignment)
        self._in_use, self._assignment = server, assignment
        return server

    def watch(self) -> None:
        """Connect, probe and keep fresh until `end` is called, or the process is about to end; a thread's work."""
        while not self._ended and threading.main_thread().is_alive():
            self._wake.clear()
            for server in self._servers:
                if not self._ended:
                    with log_errors(self._owner, f"looking after {server.url}"):
                        self._look_after(server)
            waits = [server.probe_in_ns for server in self._servers]
            self._wake.wait(min([UPKEEP_S, *(wait / 1e9 for wait in waits if wait is not None)]))

    def end(self) -> None:
        """Let `watch` return, once what it is at is over."""
        self._ended = True
        self._wake.set()

    def close(self) -> None:
        """Give all connections back; neither `watch` nor anybody who asks may be running."""
        for server in self._servers:
            with log_errors(self._owner, f"closing {server.url}"):
                server.close()
        if self._store is not None:
            self._store.close()

    def _hear(self, health: ModelHealth) -> None:
        self._wake.set()  # a probe may have become due
        self._changed(health)

    def _look_after(self, server: Endpoint) -> None:
        if server.probe_in_ns == 0:
            server.probe(self._opened_store)
        try:
            server.upkeep()
        except (NoToken, RequestError) as error:
            if self._said.get(server.url) != in_words(error):
                self._owner.log.warning(f"{server.url}: the token stays what it was: {in_words(error)}")
            self._said[server.url] = in_words(error)
        else:
            self._said.pop(server.url, None)

    def _opened_store(self) -> TrafficStore | None:
        if self._traffic is not None and self._store is None:
            self._store = TrafficStore(self._traffic)
        return self._store


def server_tokens(url: str, live: LiveCallsConfig, fixed: str | None) -> list[Token]:
    """Return the tokens of a server and its fallbacks, in this order.

    Parameters
    ----------
    fixed : str, optional
        The token of those servers for which ``live`` names no key file.
    """
    first: Token = fixed
    if live.token_file is not None and not url.startswith("mar:"):
        first = TokenSource(Path(live.token_file), live.renew_url, live.renew_before_ns)
    if not live.fallback_token_files:
        return [first] * (1 + len(live.fallback_urls))
    renew_urls = live.fallback_renew_urls or (None,) * len(live.fallback_token_files)
    others = zip(live.fallback_token_files, renew_urls, strict=True)
    return [first, *(TokenSource(Path(file), url, live.renew_before_ns) for file, url in others)]
