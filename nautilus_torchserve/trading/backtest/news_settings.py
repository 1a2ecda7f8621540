"""What a backtest on bars and news is run with, and the NautilusTrader configs that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from nautilus_trader.model.data import BarType
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars_settings import BarBacktestSettings
from nautilus_torchserve.trading.news.actor import NewsBarActor, NewsBarActorConfig
from nautilus_torchserve.wire.errors import SchemaMismatch
from strategies.news_bar_strategy import NewsBarStrategyConfig


@dataclass(frozen=True)
class NewsBacktestSettings(BarBacktestSettings):
    """One backtest's settings on bars and news.

    Raises
    ------
    BadSetting
        One of them makes no sense.
    """

    model: str = "ensemble"
    """The model's name."""
    require_news: bool = False
    """Whether only forecasts that news counted in open or turn a position."""
    veto_score: float | None = None
    """No position is opened or turned against a sentiment of at least this strength, in (0, 1]; None: no veto."""

    def actor(
        self, bar_types: Sequence[BarType], metadata: ModelMetadata, first_ts_event: int = 0
    ) -> NewsBarActorConfig:
        """Config of the actor that asks the ensemble, as the ensemble's windows were; see `BarBacktestSettings.actor`.

        Raises
        ------
        SchemaMismatch
            The model reads no news.
        """
        if not metadata.takes_news:
            raise SchemaMismatch(f"a model that takes {NewsBarActor.inputs} expected, was one of {metadata.inputs}")
        news = metadata.require_news()
        return NewsBarActorConfig(
            max_news_age_ns=news.max_age_ns,
            max_texts=news.max_texts,
            **msgspec.structs.asdict(super().actor(bar_types, metadata, first_ts_event)),
        )

    def strategy(self, instrument: Instrument, metadata: ModelMetadata) -> NewsBarStrategyConfig:
        """Config of the strategy that trades on the forecasts about one instrument."""
        return NewsBarStrategyConfig(
            require_news=self.require_news,
            veto_score=self.veto_score,
            **msgspec.structs.asdict(super().strategy(instrument, metadata)),
        )
