"""Settings of a backtest on trades."""

from collections.abc import Sequence
from dataclasses import dataclass

from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import StrategyConfig

from nautilus_torchserve.serving.model_metadata import OUTCOMES_PURPOSE, ModelMetadata
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.checks import check_size
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorderConfig
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig


@dataclass(frozen=True)
class BacktestSettings(RunSettings):
    """Settings of one backtest on trades.

    The default fee of `RunSettings`, paid on entry and exit, is the 1 bps that labels assume by default.
    """

    model: str = "tick"
    """The model's name."""
    spec: str = "tick"
    min_probability: float = 0.45
    """Minimum probability of BUY or SELL to act on, in (1/3, 1)."""
    cooldown_ns: int = 1_000_000_000
    """Minimum simulated time between two orders."""

    def check(self, instruments: Sequence[Instrument]) -> None:
        for instrument in instruments:
            self.strategy(instrument)
            InferenceActorConfig(instrument_id=instrument.id, **self.request_fields())

    def actor(
        self, instruments: Sequence[Instrument], metadata: ModelMetadata, first_ts_event: int = 0
    ) -> InferenceActorConfig:
        (instrument,) = instruments
        return InferenceActorConfig(
            instrument_id=instrument.id,
            window=metadata.feature_schema.window,
            **self.request_fields(metadata),
        )

    def recorder(self, instruments: Sequence[Instrument], metadata: ModelMetadata) -> OutcomeRecorderConfig | None:
        if self.traffic is None:
            return None
        label = metadata.require_move_label(OUTCOMES_PURPOSE)
        return OutcomeRecorderConfig(
            traffic=self.traffic,
            model=self.model,
            instrument_ids=[instrument.id for instrument in instruments],
            horizon=label.horizon,
            cost_bps=label.cost_bps,
        )

    def strategy(self, instrument: Instrument, metadata: ModelMetadata | None = None) -> StrategyConfig:
        check_size(self.trade_size, instrument)
        return self.strategy_config()(
            instrument_id=instrument.id,
            trade_size=self.trade_size,
            min_probability=self.min_probability,
            cooldown_ns=self.cooldown_ns,
            max_age_ns=self.max_age_ns,
        )
