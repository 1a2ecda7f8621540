"""One server of a model in a live run: whether it may be asked, what answers there, and with which token."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.client.breaker import Breaker, BreakerState
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.token_source import TokenSource
from nautilus_torchserve.serving.tokens import NoToken, Token
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.live_routes import DefaultVersion, Routes, connect_version, open_routes
from nautilus_torchserve.trading.inference.messages import ModelHealth
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore
from nautilus_torchserve.wire import errors
from nautilus_torchserve.wire.errors import RequestError

SLOW = "no answer within the deadline"
"""What the reason of a server's health begins with whose answers come too late."""


class Endpoint:
    """One server, its breaker and its connections.

    Two threads share it: one asks while the breaker lets through, one probes and connects while it does not.

    Parameters
    ----------
    url : str
        Of its inference port, or ``mar:PATH``.
    config : ModelActorConfig
    schema, fits
        As `trading.inference.live_routes.open_routes` takes them.
    token : Token
        Its inference token.
    changed : callable
        Told each change of health, from either thread.
    now_ns : callable
        The node's clock.
    """

    def __init__(
        self,
        url: str,
        config: ModelActorConfig,
        schema: FeatureSchema,
        fits: Callable[[ModelMetadata], None],
        token: Token,
        changed: Callable[[ModelHealth], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.url = url
        self.why = "not connected yet"
        """Why it is not asked; empty where it is well."""
        self.routes: Routes | None = None
        """As of the last connection; None before the first."""
        self._config, self._schema, self._fits, self._token = config, schema, fits, token
        self._changed, self._now_ns = changed, now_ns
        live = config.live
        self._breaker = Breaker(
            live.failures_to_open,
            live.probe_after_ns,
            live.max_probe_after_ns,
            time.monotonic_ns,
            live.refusals_to_open,
        )
        self._lock = threading.Lock()
        self._met: set[tuple[str, str]] = set()  # (version, digest) that were checked
        self._last_met = "", ""
        self._told: tuple[str, ...] = ()

    @property
    def lets_through(self) -> bool:
        """Whether it may be asked."""
        return self._breaker.lets_through

    @property
    def probe_in_ns(self) -> int | None:
        """Time until `probe` is due (nanoseconds); None where it will not be."""
        return self._breaker.probe_in_ns

    def ask(
        self, route: Route, inputs: Inputs, about: Sequence[tuple[str, ...]], ts_ns: int, deadline_ns: int
    ) -> PredictionResponse:
        """Send one request; see `traffic.router.Router.ask`.

        Raises
        ------
        RequestError
            There is no answer, or it is by a version that the caller cannot use.
        """
        routes = self.routes
        assert routes is not None
        answer = routes.ask(route, inputs, about, ts_ns, deadline_ns)
        if (answer.version, answer.digest) not in self._met:
            self._meet(answer)
        return answer

    def answered(self, in_time: bool) -> None:
        """Take an answer into account."""
        if in_time:
            self._change(Breaker.succeeded, "")
        else:
            self._change(Breaker.failed, f"{SLOW} of {self._config.live.deadline_ns / 1e6:g} ms")

    def failed(self, error: RequestError, route: Route) -> None:
        """Take a failed request into account.

        What the server finds in a request's content may be right, and what the client found before it sent anything
        is no fault of the server, unless its description is wrong; a version on trial may fail (the trial's gates end
        that), and where a version is no more its instruments go to the others: these count as refusals. Everything
        else is the server's fault.
        """
        no_more = isinstance(error, errors.UnknownModel) and route.version
        if isinstance(error, errors.OF_THE_CONTENT + errors.PROVEN_RIGHT) or route.on_trial or no_more:
            how = Breaker.refused
        else:
            how = Breaker.trip if isinstance(error, errors.SchemaMismatch) else Breaker.failed
        self._change(how, in_words(error))

    def probe(self, store: Callable[[], TrafficStore | None]) -> None:
        """Connect anew; where that works, the next request shows whether the server is well.

        Parameters
        ----------
        store : callable
            What opens the store of traffic splits, where there is one.
        """
        why = "the probe broke off"
        try:
            if isinstance(self._token, TokenSource):
                with suppress(NoToken):  # the server decides whether the one at hand will do, and says why not
                    self._token.refresh()
            self._connect(store())
            why = ""
        except (RequestError, StoreFailed, UnreadableArchive) as error:
            why = in_words(error)
        finally:
            self._change(lambda breaker: breaker.probed(is_well=not why), why)

    def upkeep(self) -> None:
        """Keep token and versions fresh while it is asked.

        Raises
        ------
        NoToken, RequestError
            The token cannot be read or renewed; the last one stays in use.
        """
        if not self.lets_through:
            return
        if isinstance(self.routes, DefaultVersion):
            self.routes.refresh()
        if isinstance(self._token, TokenSource):
            self._token.refresh()

    def close(self) -> None:
        """Give the connections back; nobody may be asking any more."""
        if self.routes is not None:
            self.routes.close()

    def _connect(self, store: TrafficStore | None) -> None:
        made = open_routes(self.url, self._config, self._schema, self._fits, self._token, store)
        before, self.routes = self.routes, made
        self._last_met = made.metadata.version, made.metadata.archive_digest
        self._met = {self._last_met}
        if before is not None:
            if before.assignment is not None and made.assignment is not None:
                made.assignment.inherit(before.assignment)
            before.close()

    def _meet(self, answer: PredictionResponse) -> None:
        """Check a version that has not answered before, as when connecting."""
        client = connect_version(self.url, self._config, answer.version, self._schema, self._fits, self._token)
        client.close()
        for version, digest in self._met:
            if version == answer.version and digest != answer.digest:
                raise errors.ModelChanged(
                    f"{self._config.model} {version}: expected archive {digest[:12]}, got {answer.digest[:12]}"
                )
        self._last_met = answer.version, answer.digest
        self._met.add(self._last_met)

    def _change(self, how: Callable[[Breaker], None], why: str) -> None:
        """Change the breaker's state, and tell health where it is another one than was told before."""
        with self._lock:
            how(self._breaker)
            state = self._breaker.state
            self.why = why if state is BreakerState.OPEN else ""
            now = str(state), self.why.partition(":")[0], *self._last_met  # words say how many ms a refusal took
            is_news, self._told = now != self._told, now
        if is_news:
            version, digest = self._last_met
            self._changed(
                ModelHealth(self._config.model, self.url, str(state), self.why, version, digest, self._now_ns())
            )


def in_words(error: Exception) -> str:
    """``Kind: words``."""
    return f"{type(error).__name__}: {error}"
