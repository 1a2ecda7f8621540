"""What actors that ask a model are told: where it is, which version, and how long to wait."""

from nautilus_trader.common.config import ActorConfig

from strategies.checks import expect


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
        Simulated time from an event's receipt to the moment its prediction takes effect (nanoseconds).
    timeout_s : float
        Longest wait for one answer (seconds of wall time).
    max_failures : int
        Events that may get no answer one after another; then the actor stops asking.
    """

    url: str
    model: str
    version: str | None = None
    traffic: str | None = None
    token_env: str = "TORCHSERVE_TOKEN"
    latency_ns: int = 1_000_000
    timeout_s: float = 5.0
    max_failures: int = 10

    def __post_init__(self) -> None:
        schemes = ("http://", "https://", "mar:")
        expect(self.url.startswith(schemes), f"url beginning with http://, https:// or mar:, was {self.url!r}")
        if self.traffic is not None:
            expect(not self.url.startswith("mar:"), f"url of a server (traffic is split there), was {self.url!r}")
            expect(self.version is None, f"no version (the split says which), was {self.version!r}")
        expect(
            self.latency_ns >= 1,
            f"latency_ns of at least 1 (an answer cannot take effect at its own event), was {self.latency_ns}",
        )
        expect(self.timeout_s > 0, f"timeout_s above 0, was {self.timeout_s:g}")
        expect(self.max_failures >= 1, f"max_failures of at least 1, was {self.max_failures}")
