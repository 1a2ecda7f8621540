"""What a tick backtest is run with, and the NautilusTrader configs that follow from it."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from nautilus_trader.backtest.config import BacktestDataConfig, BacktestRunConfig
from nautilus_trader.common.config import ActorConfig, ImportableActorConfig
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import ImportableStrategyConfig, StrategyConfig

from nautilus_torchserve.serving.model_metadata import OUTCOMES_PURPOSE, ModelMetadata
from nautilus_torchserve.trading.backtest import engine
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorderConfig
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig
from strategies.tick_strategy import TickStrategyConfig


@dataclass(frozen=True)
class BacktestSettings(RunSettings):
    """One tick backtest's settings.

    The fee of `RunSettings` is there and back the 1 bps that labels assume by default.

    Raises
    ------
    BadSetting
        One of them makes no sense.
    """

    model: str = "tick"
    """The model's name."""
    min_probability: float = 0.45
    """Least probability of BUY or SELL to act on, in (1/3, 1)."""
    cooldown_ns: int = 1_000_000_000
    """Least simulated time between two orders."""

    def actor(self, instrument_id: InstrumentId, window: int) -> InferenceActorConfig:
        """Config of the actor that asks the model."""
        return InferenceActorConfig(instrument_id=instrument_id, window=window, **self.asking())

    def recorder(self, instrument_id: InstrumentId, metadata: ModelMetadata) -> OutcomeRecorderConfig | None:
        """Config of the recorder of outcomes; None without ``traffic``."""
        if self.traffic is None:
            return None
        label = metadata.require_move_label(OUTCOMES_PURPOSE)
        return OutcomeRecorderConfig(
            traffic=self.traffic,
            model=self.model,
            instrument_ids=[instrument_id],
            horizon=label.horizon,
            cost_bps=label.cost_bps,
        )

    def strategy(self, instrument: Instrument) -> TickStrategyConfig:
        """Config of the strategy that trades on the predictions."""
        self.check_size(instrument)
        return TickStrategyConfig(
            instrument_id=instrument.id,
            trade_size=self.trade_size,
            min_probability=self.min_probability,
            cooldown_ns=self.cooldown_ns,
            max_age_ns=self.max_age_ns,
        )


def importable_actor(config: ActorConfig) -> ImportableActorConfig:
    """The actor in the form that a `BacktestEngineConfig` takes."""
    actor_path, config_path = _paths(config)
    return ImportableActorConfig(actor_path=actor_path, config_path=config_path, config=config.json_primitives())


def importable_strategy(config: StrategyConfig) -> ImportableStrategyConfig:
    """The strategy in the form that a `BacktestEngineConfig` takes."""
    strategy_path, config_path = _paths(config)
    return ImportableStrategyConfig(
        strategy_path=strategy_path, config_path=config_path, config=config.json_primitives()
    )


def _paths(config: ActorConfig | StrategyConfig) -> tuple[str, str]:
    """Where a component and its config are: in one module, the config's name with ``Config`` at its end."""
    module, name = type(config).__module__, type(config).__name__
    return f"{module}:{name.removesuffix('Config')}", f"{module}:{name}"


def run_config(
    instrument: Instrument, actor: InferenceActorConfig, strategy: TickStrategyConfig, catalog: Path, balance: Decimal
) -> BacktestRunConfig:
    """A run over an instrument's trades in a catalog, as `BacktestNode` takes it.

    Parameters
    ----------
    catalog : Path
        A `ParquetDataCatalog` that holds the instrument, its trades and its quotes.
    balance : Decimal
        Account at the start, in the currency that the instrument is settled in.
    """
    data = [
        BacktestDataConfig(catalog_path=str(catalog), data_cls=data_cls, instrument_id=instrument.id)
        for data_cls in (TradeTick, QuoteTick)  # in this order at one time: a trade, too, sets the book
    ]
    return engine.run_config([instrument], importable_actor(actor), [importable_strategy(strategy)], data, balance)
