"""Settings that all backtests share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import StrategyConfig

from nautilus_torchserve.models.spec import load_object
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import BadSetting, check_size, expect
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorderConfig
from nautilus_torchserve.traffic.split import Kind
from nautilus_torchserve.traffic.store import TrafficStore

MODES = ("inline", "prefetch")
"""When a backtest requests predictions."""
_LARGEST_BALANCE = 10**12
"""NautilusTrader holds amounts up to 1.7e13."""


@dataclass(frozen=True)
class RunSettings(ABC):
    """Settings that all backtests share; a subclass has those of one strategy.

    Raises
    ------
    BadSetting
        A setting is invalid.
    """

    url: str
    """The inference port, ``http://`` or ``https://``, or ``mar:PATH`` of an archive."""
    model: str
    """The model's name."""
    spec: str
    """The `ModelSpec` that names actor and strategy, see `models.table.spec_of`."""
    version: str | None = None
    """A fixed version; None takes the server's default one and keeps to it for the whole run, but for ``traffic``."""
    traffic: str | None = None
    """SQLAlchemy URL of the store of traffic splits: the running split decides which version predicts which
    instrument, and outcomes of the predictions are recorded there. None: one version, and nothing is kept."""
    token_env: str = "TORCHSERVE_TOKEN"
    """Environment variable that holds TorchServe's inference token."""
    timeout_s: float = 5.0
    """Longest wait for one response, seconds of wall time."""
    max_failures: int = 10
    """Events in a row that may get no response before requests end."""
    mode: Literal["inline", "prefetch"] = "inline"
    """When predictions are requested: ``inline``, with each event as the run comes to it; ``prefetch``, beforehand in
    large requests, many times as fast. Predictions, orders and fills are the same to the last bit."""
    latency_ns: int = 1_000_000
    """Simulated time from an event's receipt until its prediction takes effect and an order on it is at the venue.
    With 0 that is the event's own time, after all data of that time."""
    latency_profile: Path | None = None
    """File of latencies recorded from a server, which are drawn from in place of ``latency_ns`` and put through a
    queue in front of its workers."""
    latency_workers: int | None = None
    """Workers behind that queue; None takes as many as the profile was recorded from."""
    latency_seed: int = 1
    """Seed of the draws from the profile."""
    trade_size: Decimal = Decimal("0.1")
    """Size of the position to hold, long or short: base currency, shares, or contracts."""
    max_age_ns: int = 1_000_000_000
    """Predictions whose newest event is older than this when they arrive are not traded on; counts from the
    venue's time, so the way from the venue is part of it."""
    instruments: InstrumentOptions = field(default_factory=InstrumentOptions)
    """Definitions of the instruments, in addition to their data."""
    fee_bps: float | None = None
    """Fee on each fill, bps of its value; None takes that of the instrument's definition, else 0.5."""
    funding: Path | None = None
    """Funding rates, a file or several (`market.funding.load_funding`); None: funding is not charged."""
    borrow: str | None = None
    """Annual cost of borrowing what is sold short: a number, or files of rates (`market.funding.load_borrow`); None: it
    is not charged."""
    starting_balance: Decimal = Decimal(10_000)
    """Account at the start, in the currency that the instruments are settled in; one at each venue."""
    in_sample: bool = False
    """Trade also on data that the model's fit saw: useful for debugging, meaningless as a result."""

    def __post_init__(self) -> None:
        expect(self.fee_bps is None or self.fee_bps >= 0, f"fee_bps of at least 0, got {self.fee_bps}")
        balance = self.starting_balance
        if not (balance.is_finite() and 0 < balance <= _LARGEST_BALANCE):
            most = f"above 0, at most {_LARGEST_BALANCE}"
            raise BadSetting(f"expected a starting_balance (--balance) {most}, got {balance}")
        expect(self.mode in MODES, f"mode of {' or '.join(MODES)}, got {self.mode!r}")
        expect(
            self.mode == "inline" or self.traffic is None,
            f"no traffic in mode prefetch (versions are chosen as a run goes on), got {self.traffic!r}",
        )
        expect(self.latency_ns >= 0, f"latency_ns of at least 0, got {self.latency_ns}")
        expect(
            self.latency_profile is not None or self.latency_ns <= self.max_age_ns,
            f"latency_ns of at most max_age_ns = {self.max_age_ns} (older predictions are not traded on), "
            f"got {self.latency_ns}",
        )

    @property
    def has_carry(self) -> bool:
        """Whether positions are charged with funding or interest."""
        return self.funding is not None or self.borrow is not None

    def sweep_fields(self) -> dict[str, Any]:
        """Return the fields that a sweep may change beside those of this class: name -> type."""
        return {}

    def changed(self, values: Mapping[str, Any]) -> Self:
        """Return the settings with other values of some fields, as of this class or of `sweep_fields`."""
        return replace(self, **values)

    def check(self, instruments: Sequence[Instrument]) -> None:
        """Refuse settings that are invalid for the instruments, before any request is made.

        Raises
        ------
        BadSetting
        """
        for instrument in instruments:
            check_size(self.trade_size, instrument)

    @abstractmethod
    def actor(
        self, instruments: Sequence[Instrument], metadata: ModelMetadata, first_ts_event: int = 0
    ) -> ModelActorConfig:
        """Return the configuration of the actor that requests predictions.

        Parameters
        ----------
        metadata : ModelMetadata
            Metadata of the model.
        first_ts_event : int
            Earlier events only fill the windows (Unix ns).
        """

    @abstractmethod
    def strategy(self, instrument: Instrument, metadata: ModelMetadata) -> StrategyConfig:
        """Return the configuration of the strategy that trades one instrument."""

    @abstractmethod
    def recorder(self, instruments: Sequence[Instrument], metadata: ModelMetadata) -> OutcomeRecorderConfig | None:
        """Return the configuration of the recorder of outcomes; None without ``traffic``."""

    def strategy_config(self) -> Callable[..., StrategyConfig]:
        """Return the class of the strategy's configuration, which the model's spec names."""
        trading = spec_of(self.spec).trading
        if trading.strategy_config is None:
            raise BadSetting(f"expected a model with a strategy, got {self.spec}")
        config: Callable[..., StrategyConfig] = load_object(trading.strategy_config)
        return config

    def request_fields(self, metadata: ModelMetadata | None = None) -> dict[str, Any]:
        """Return the fields of a `trading.inference.config.ModelActorConfig`.

        Parameters
        ----------
        metadata : ModelMetadata, optional
            Metadata of the version to keep to, where there is no traffic split.
        """
        version = self.version if metadata is None or self.traffic is not None else metadata.version
        return {
            "url": self.url,
            "model": self.model,
            "version": version,
            "traffic": self.traffic,
            "token_env": self.token_env,
            "latency_ns": self.latency_ns,
            "latency_profile": None if self.latency_profile is None else str(self.latency_profile),
            "latency_workers": self.latency_workers,
            "latency_seed": self.latency_seed,
            "timeout_s": self.timeout_s,
            "max_failures": self.max_failures,
        }

    def check_margin(self, instrument: Instrument, price: float) -> None:
        """Refuse a position whose margin the account cannot pay; NautilusTrader's own engine would trade it."""
        size, at = instrument.make_qty(self.trade_size), instrument.make_price(price)
        needed = instrument.notional_value(size, at).as_decimal() * instrument.margin_init
        if needed > self.starting_balance:
            raise BadSetting(
                f"expected a starting_balance of at least {needed:f} {instrument.get_cost_currency()}, the margin of "
                f"{size} {instrument.id} at {at}, got {self.starting_balance}"
            )


def served_metadata(settings: RunSettings, version: str | None = None) -> ModelMetadata:
    """Return the metadata of the model that the settings name.

    Parameters
    ----------
    version : str, optional
        Another version than that of the settings.

    Raises
    ------
    RequestError, UnreadableArchive
        The model cannot be reached.
    """
    token = os.environ.get(settings.token_env)
    with connect(
        settings.url,
        settings.model,
        version or settings.version,
        spec=spec_of(settings.spec),
        token=token,
        timeout_s=settings.timeout_s,
    ) as client:
        return client.metadata


def challengers_metadata(settings: RunSettings) -> list[ModelMetadata]:
    """Return the metadata of the running split's challenger, where there is one that responds to callers.

    Its fit may have seen data that the baseline's has not.

    Raises
    ------
    StoreFailed
        The store of traffic splits cannot be read.
    RequestError
        The challenger cannot be reached.
    """
    if settings.traffic is None:
        return []
    with TrafficStore(settings.traffic) as store:
        split = store.running(settings.model)
    if split is None or split.kind is Kind.SHADOW:
        return []
    return [served_metadata(settings, split.challenger)]
