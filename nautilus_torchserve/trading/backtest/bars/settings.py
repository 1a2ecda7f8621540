"""Settings of a backtest on bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nautilus_trader.model.data import BarType
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import StrategyConfig

from nautilus_torchserve.market.bars.quotes import half_spread
from nautilus_torchserve.serving.model_metadata import OUTCOMES_PURPOSE, ModelMetadata
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.bars.actor import BarInferenceActorConfig
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.checks import BadSetting, check_size, expect
from nautilus_torchserve.trading.instruments.names import order_id_tag
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorderConfig


@dataclass(frozen=True)
class BarBacktestSettings(RunSettings):
    """Settings of one backtest on bars."""

    model: str = "price"
    """The model's name."""
    spec: str = "price"
    latency_ns: int = 10_000_000
    """Simulated time from a bar's close until its prediction takes effect and an order on it is at the venue."""
    batch_wait_ns: int | None = None
    """Longest wait for the other instruments' bars of the same time; None waits half the latency."""
    min_confidence: float = 0.52
    """Minimum probability of the return's sign to act on, in [0.5, 1)."""
    spread_bps: float = 1.0
    """Ask less bid, bps of the price; an assumption, since bars hold no quotes."""
    cost_bps: float | None = None
    """Expected returns of no more than this are not acted on, bps; None takes the round-trip cost of a trade."""
    horizon_ns: int | None = None
    """Validity of a signal, from its bar's close on; None takes the horizon that the model was fitted for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            half_spread(self.spread_bps)
        except ValueError as error:
            raise BadSetting(str(error)) from None
        expect(
            self.batch_wait_ns is None
            or self.latency_profile is not None
            or 0 <= self.batch_wait_ns <= self.latency_ns,
            f"batch_wait_ns of 0 to latency_ns = {self.latency_ns}, got {self.batch_wait_ns}",
        )

    def threshold_bps(self, instrument: Instrument) -> float:
        """Return ``cost_bps``, or else two fees and the spread."""
        two_fees = float(2 * instrument.taker_fee * 10_000)
        return two_fees + self.spread_bps if self.cost_bps is None else self.cost_bps

    def holding_ns(self, metadata: ModelMetadata) -> int:
        """Return ``horizon_ns``, or else the model's.

        Raises
        ------
        BadSetting
            It is shorter than a bar, whose end the model forecasts.
        """
        interval_ns = metadata.require_bars().interval_ns
        if self.horizon_ns is None:
            return metadata.require_horizon_bars("how long a signal holds, give it with --horizon") * interval_ns
        expect(
            self.horizon_ns >= interval_ns,
            f"horizon_ns of at least a bar's {interval_ns}, got {self.horizon_ns}",
        )
        return self.horizon_ns

    def actor(
        self, instruments: Sequence[Instrument], metadata: ModelMetadata, first_ts_event: int = 0
    ) -> BarInferenceActorConfig:
        return BarInferenceActorConfig(**self.actor_fields(instruments, metadata, first_ts_event))

    def actor_fields(
        self, instruments: Sequence[Instrument], metadata: ModelMetadata, first_ts_event: int
    ) -> dict[str, Any]:
        """Return the fields of a `BarInferenceActorConfig`, with the windows that the model was trained on.

        Raises
        ------
        BadSetting
            The prediction would arrive after the bar that it is about.
        """
        bars = metadata.require_bars()
        expect(
            self.latency_profile is not None or self.latency_ns < bars.interval_ns,
            f"latency_ns below a bar's {bars.interval_ns}, got {self.latency_ns}",
        )
        return {
            "bar_types": _bar_types(instruments, metadata),
            "indicators": bars.indicators,
            "max_gap_ns": bars.max_gap_ns,
            "batch_wait_ns": self.latency_ns // 2 if self.batch_wait_ns is None else self.batch_wait_ns,
            "first_ts_event": first_ts_event,
            **self.request_fields(metadata),
        }

    def recorder(self, instruments: Sequence[Instrument], metadata: ModelMetadata) -> OutcomeRecorderConfig | None:
        if self.traffic is None:
            return None
        return OutcomeRecorderConfig(
            traffic=self.traffic,
            model=self.model,
            instrument_ids=[instrument.id for instrument in instruments],
            horizon=metadata.require_horizon_bars(OUTCOMES_PURPOSE),
            bar_types=tuple(_bar_types(instruments, metadata)),
            max_gap_ns=metadata.require_bars().max_gap_ns,
        )

    def strategy(self, instrument: Instrument, metadata: ModelMetadata) -> StrategyConfig:
        return self.strategy_config()(**self.strategy_fields(instrument, metadata))

    def strategy_fields(self, instrument: Instrument, metadata: ModelMetadata) -> dict[str, Any]:
        """Return the fields of the strategy's configuration."""
        check_size(self.trade_size, instrument)
        bars = metadata.require_bars()
        return {
            "instrument_id": instrument.id,
            "order_id_tag": order_id_tag(instrument.id),
            "trade_size": self.trade_size,
            "min_confidence": self.min_confidence,
            "cost_bps": self.threshold_bps(instrument),
            "horizon_ns": self.holding_ns(metadata),
            "closed_market_ns": bars.max_gap_ns - bars.interval_ns,
            "max_age_ns": self.max_age_ns,
        }


def _bar_types(instruments: Sequence[Instrument], metadata: ModelMetadata) -> list[BarType]:
    interval_ns = metadata.require_bars().interval_ns
    return [bar_type(instrument.id, interval_ns) for instrument in instruments]
