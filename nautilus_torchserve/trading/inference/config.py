"""What actors that ask a model are told: where it is, which version, and how long to wait."""

from pathlib import Path

from nautilus_trader.common.config import ActorConfig

from nautilus_torchserve.latency.choice import chosen_delay
from nautilus_torchserve.latency.delay import Delay
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.live_config import LiveCallsConfig


class ModelActorConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of a `ModelActor`.

    Parameters
    ----------
    url : str
        The inference port, ``http://`` or ``https://``, or ``mar:PATH`` of an archive.
    model : str
        The model's name.
    version : str, optional
        A fixed version; None asks the server's default one.
    traffic : str, optional
        SQLAlchemy URL of the store of traffic splits: the running split says which version is asked about which
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
        Longest wait for one answer (seconds of wall time).
    max_failures : int
        In a backtest: events that may get no answer one after another; then the actor stops asking.
    warm_up_ns : int
        In a live run: how far back to ask for history that fills the features before the first question
        (nanoseconds); 0 fills them from the stream alone.
    live : LiveCallsConfig
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
    live: LiveCallsConfig = LiveCallsConfig()

    def __post_init__(self) -> None:
        schemes = ("http://", "https://", "mar:")
        expect(self.url.startswith(schemes), f"url beginning with http://, https:// or mar:, was {self.url!r}")
        if self.traffic is not None:
            expect(not self.url.startswith("mar:"), f"url of a server (traffic is split there), was {self.url!r}")
            expect(self.version is None, f"no version (the split says which), was {self.version!r}")
        expect(self.latency_ns >= 0, f"latency_ns of at least 0, was {self.latency_ns}")
        expect(
            self.latency_workers is None or self.latency_workers >= 1,
            f"latency_workers of at least 1, was {self.latency_workers}",
        )
        expect(self.timeout_s > 0, f"timeout_s above 0, was {self.timeout_s:g}")
        expect(self.max_failures >= 1, f"max_failures of at least 1, was {self.max_failures}")
        expect(self.warm_up_ns >= 0, f"warm_up_ns of at least 0, was {self.warm_up_ns}")

    def delay(self) -> Delay:
        """When answers are there in a backtest; one object a run, since it keeps the queue's state.

        Raises
        ------
        BadProfile
            The profile cannot be read.
        """
        profile = None if self.latency_profile is None else Path(self.latency_profile)
        return chosen_delay(self.latency_ns, profile, self.latency_workers, self.latency_seed)
