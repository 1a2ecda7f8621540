"""Settings of a backtest of a model on features of your own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, get_type_hints

from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from nautilus_torchserve.models.spec import load_object
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.checks import BadSetting, check_size, expect
from nautilus_torchserve.trading.features.actor import FeatureActorConfig
from nautilus_torchserve.trading.instruments.names import order_id_tag
from nautilus_torchserve.trading.live.components import config_from
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy

_ACTING = ("on_data", "act_on")
"""Methods of `PredictionStrategy`, of which a strategy has at least one of its own."""
_FOLLOWING = {"instrument_id", "order_id_tag", "strategy_id", "trade_size", "max_age_ns"}
"""Fields of a strategy's configuration that follow from the settings of the run."""


@dataclass(frozen=True, kw_only=True)
class FeatureBacktestSettings(RunSettings):
    """Settings of one backtest of a model on features of your own.

    Raises
    ------
    BadSetting
        A setting is invalid.
    """

    strategy_path: str | None = None
    """The strategy, ``my_strategies:Momentum``; its configuration is ``my_strategies:MomentumConfig``. None takes the
    spec's."""
    strategy_settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the strategy's configuration; those of every `PredictionStrategyConfig` follow from the others here."""
    spread_bps: float = 1.0
    """Ask less bid around bars, which hold no quotes, bps of the price."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.traffic is None, f"no traffic for {self.spec} (its outcomes are its own), got {self.traffic!r}")

    def sweep_fields(self) -> dict[str, Any]:
        kind = self.strategy_config()
        hints = get_type_hints(kind)
        return {name: hints[name] for name in kind.__struct_fields__ if name not in _FOLLOWING}

    def changed(self, values: Mapping[str, Any]) -> Self:
        own = {item.name for item in fields(self)}
        of_strategy = {name: value for name, value in values.items() if name not in own}
        of_run = {name: value for name, value in values.items() if name in own}
        return replace(self, **of_run, strategy_settings={**self.strategy_settings, **of_strategy})

    def check(self, instruments: Sequence[Instrument]) -> None:
        for instrument in instruments:
            self.strategy(instrument)

    def actor(
        self, instruments: Sequence[Instrument], metadata: ModelMetadata, first_ts_event: int = 0
    ) -> FeatureActorConfig:
        return FeatureActorConfig(
            spec=self.spec,
            instrument_ids=[instrument.id for instrument in instruments],
            first_ts_init=first_ts_event,
            **self.request_fields(metadata),
        )

    def recorder(self, instruments: Sequence[Instrument], metadata: ModelMetadata) -> None:
        """Return None: there is no traffic split."""

    def strategy(self, instrument: Instrument, metadata: ModelMetadata | None = None) -> StrategyConfig:
        check_size(self.trade_size, instrument)
        kind = self.strategy_config()
        follows = {
            "instrument_id": instrument.id.value,
            "order_id_tag": order_id_tag(instrument.id),
            "trade_size": str(self.trade_size),
            "max_age_ns": self.max_age_ns,
        }
        known = {name: value for name, value in follows.items() if name in kind.__struct_fields__}
        for name in sorted(self.strategy_settings.keys() & _FOLLOWING):
            raise BadSetting(f"expected no {name} among the strategy's settings (another setting sets it), got one")
        return config_from(kind, {**known, **self.strategy_settings}, kind.__name__)

    def strategy_config(self) -> type[StrategyConfig]:
        trading = spec_of(self.spec).trading
        if self.strategy_path is not None:
            strategy = load_object(self.strategy_path)
            if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
                raise BadSetting(f"{self.strategy_path}: expected a NautilusTrader Strategy, got {strategy!r:.80}")
            base = PredictionStrategy
            if issubclass(strategy, base) and all(getattr(strategy, name) is vars(base)[name] for name in _ACTING):
                raise BadSetting(f"{self.strategy_path}: expected a method act_on(prediction), got none")
            trading = trading.with_strategy(self.strategy_path)
        path = trading.strategy_config
        if path is None:
            raise BadSetting(f"expected a strategy for {self.spec} (--strategy my_strategies:Name), got none")
        kind = load_object(path)
        if not (isinstance(kind, type) and issubclass(kind, StrategyConfig)):
            raise BadSetting(f"{path}: expected a NautilusTrader StrategyConfig, got {kind!r:.80}")
        return kind
