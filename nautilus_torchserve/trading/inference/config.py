"""Configuration of actors that use a model: its address and version, simulated latency, and live requests."""

import os
from pathlib import Path
from typing import Any

from nautilus_trader.common.config import ActorConfig, NautilusConfig
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.latency.choice import Delay, chosen_delay
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.client.transports import SERVER_PREFIXES, URL_PREFIXES, is_server_url, is_url
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import expect


class DispatcherConfig(NautilusConfig, kw_only=True, frozen=True):
    """Configuration of a `trading.inference.dispatcher.InferenceDispatcher`.

    Parameters
    ----------
    deadline_ns : int
        Longest time from an event's receipt to its response on the event loop (nanoseconds). Later responses are
        dropped. A response is waited for twice as long, or ``timeout_s`` of the actor where that is less.
    max_rows : int
        Largest number of requests queued for the next call, and so of its rows; beyond it the oldest expire.
    failures_to_open : int
        Failures of a server in a row after which its circuit breaker opens.
    refusals_to_open : int
        Requests that a server refuses in a row, each for its content, after which its circuit breaker opens.
    probe_after_ns : int
        Time until the first probe of a server whose breaker is open (nanoseconds); doubles with each probe.
    max_probe_after_ns : int
        Longest time between two probes (nanoseconds).
    fallback_urls : tuple of str
        Inference ports to use while those before them fail, in order of preference, after the actor's ``url``.
    token_file : str, optional
        TorchServe's ``key_file.json``, read again when it changes or its token is refused; None takes the token of
        the actor's ``token_env``.
    renew_url : str, optional
        Management port, where the token of ``token_file`` is renewed with the API key of that file; None: never.
    renew_before_ns : int
        Time before a token's expiry at which it is renewed (nanoseconds).
    fallback_token_files : tuple of str
        As ``token_file``, one for each of ``fallback_urls``; empty: they take the token of ``url``.
    fallback_renew_urls : tuple of str
        As ``renew_url``, one for each of ``fallback_token_files``; empty: none is renewed.
    """

    deadline_ns: int = 1_000_000_000
    max_rows: int = 64
    failures_to_open: int = 3
    refusals_to_open: int = 20
    probe_after_ns: int = 250_000_000
    max_probe_after_ns: int = 5_000_000_000
    fallback_urls: tuple[str, ...] = ()
    token_file: str | None = None
    renew_url: str | None = None
    renew_before_ns: int = 300_000_000_000
    fallback_token_files: tuple[str, ...] = ()
    fallback_renew_urls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = ("max_rows", "failures_to_open", "refusals_to_open")
        for name in ("deadline_ns", *counts, "probe_after_ns", "renew_before_ns"):
            value = getattr(self, name)
            expect(value >= 1, f"{name} of at least 1, got {value}")
        expect(
            self.max_probe_after_ns >= self.probe_after_ns,
            f"max_probe_after_ns of at least probe_after_ns = {self.probe_after_ns}, got {self.max_probe_after_ns}",
        )
        renew_urls = [] if self.renew_url is None else [self.renew_url]
        for url in (*self.fallback_urls, *renew_urls, *self.fallback_renew_urls):
            expect(is_server_url(url), f"url beginning with {SERVER_PREFIXES}, got {url!r}")
        expect(
            self.renew_url is None or self.token_file is not None,
            "token_file with renew_url (it holds the API key), got none",
        )
        self._expect_one_each("fallback_token_files", "fallback_urls")
        self._expect_one_each("fallback_renew_urls", "fallback_token_files")

    def _expect_one_each(self, name: str, other: str) -> None:
        count, wanted = len(getattr(self, name)), len(getattr(self, other))
        expect(count in (0, wanted), f"{name} none or one for each of {wanted} {other}, got {count}")


class ModelActorConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of a `trading.inference.actor.ModelActor`.

    Parameters
    ----------
    url : str
        The inference port, ``http://`` or ``https://``, or ``mar:PATH`` of an archive.
    model : str
        The model's name.
    version : str, optional
        A fixed version; None takes the server's default one.
    traffic : str, optional
        SQLAlchemy URL of the store of traffic splits: the running split decides which version predicts which
        instrument. None: there are no splits.
    token_env : str
        Environment variable that holds TorchServe's inference token; unset where none is needed.
    latency_ns : int
        In a backtest: simulated time from an event's receipt to the moment its prediction takes effect
        (nanoseconds). With 0 that is the event's own time, after all data of that time.
    latency_profile : str, optional
        In a backtest: file of latencies recorded from a server (`latency.profile`), which are drawn
        from in place of ``latency_ns``.
    latency_workers : int, optional
        In a backtest with a profile: workers behind the queue; None takes the profile's.
    latency_seed : int
        In a backtest with a profile: seed of the draws.
    timeout_s : float
        Longest wait for one response (seconds of wall time).
    max_failures : int
        In a backtest: consecutive events that may get no response; then the actor stops its requests.
    warm_up_ns : int
        In a live run: how far back to request history that fills the features before the first prediction
        (nanoseconds); 0 fills them from the stream alone.
    live : DispatcherConfig
        In a live run: deadlines, circuit breakers, fallbacks, tokens.
    """

    url: str
    model: str
    version: str | None = None
    traffic: str | None = None
    token_env: str = "TORCHSERVE_TOKEN"
    latency_ns: int = 1_000_000
    latency_profile: str | None = None
    latency_workers: int | None = None
    latency_seed: int = 1
    timeout_s: float = 5.0
    max_failures: int = 10
    warm_up_ns: int = 0
    live: DispatcherConfig = DispatcherConfig()

    def __post_init__(self) -> None:
        expect(is_url(self.url), f"url beginning with {URL_PREFIXES}, got {self.url!r}")
        if self.traffic is not None:
            expect(is_server_url(self.url), f"url of a server (traffic is split there), got {self.url!r}")
            expect(self.version is None, f"no version (the split says which), got {self.version!r}")
        expect(self.latency_ns >= 0, f"latency_ns of at least 0, got {self.latency_ns}")
        expect(
            self.latency_workers is None or self.latency_workers >= 1,
            f"latency_workers of at least 1, got {self.latency_workers}",
        )
        expect(self.timeout_s > 0, f"timeout_s above 0, got {self.timeout_s:g}")
        expect(self.max_failures >= 1, f"max_failures of at least 1, got {self.max_failures}")
        expect(self.warm_up_ns >= 0, f"warm_up_ns of at least 0, got {self.warm_up_ns}")

    @classmethod
    def metadata_fields(cls, metadata: ModelMetadata) -> dict[str, Any]:
        """Return the fields that follow from a model's metadata, where they are not set.

        Raises
        ------
        BadSetting
            The model takes other inputs than the actor computes.
        """
        return {}

    def feature_schema(self) -> FeatureSchema:
        """Return the schema of the features that the actor computes."""
        raise NotImplementedError

    def model_spec(self) -> ModelSpec | None:
        """Return the spec by which the model is requested; None where every model describes itself."""
        return None

    def connect(self) -> InferenceClient:
        """Return a client of the model, as one run in a backtest uses it.

        Raises
        ------
        RequestError, UnreadableArchive
            The model cannot be reached, or was trained on other features.
        """
        return connect(
            self.url,
            self.model,
            self.version,
            schema=self.feature_schema(),
            spec=self.model_spec(),
            token=os.environ.get(self.token_env),
            timeout_s=self.timeout_s,
        )

    def subjects(self) -> list[InstrumentId]:
        """Return the instruments that predictions are about."""
        raise NotImplementedError

    def delay(self) -> Delay:
        """Return when responses arrive in a backtest; one object a run, since it keeps the queue's state.

        Raises
        ------
        BadProfile
            The profile cannot be read.
        """
        profile = None if self.latency_profile is None else Path(self.latency_profile)
        return chosen_delay(self.latency_ns, profile, self.latency_workers, self.latency_seed)
