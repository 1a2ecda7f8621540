"""Settings of a backtest on bars and headlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.news.actor import NewsBarActor, NewsBarActorConfig
from nautilus_torchserve.wire.errors import SchemaMismatch


@dataclass(frozen=True)
class NewsBacktestSettings(BarBacktestSettings):
    """Settings of one backtest on bars and headlines.

    Raises
    ------
    BadSetting
        A setting is invalid.
    """

    spec: ClassVar[str] = "ensemble"
    model: str = "ensemble"
    """The model's name."""
    require_news: bool = False
    """Whether only forecasts with at least one headline open or turn a position."""
    veto_score: float | None = None
    """No position is opened or turned against a sentiment of at least this strength, in (0, 1]; None: no veto."""

    def check(self, instruments: Sequence[Instrument]) -> None:
        expect(
            self.mode == "inline",
            f"mode inline for a model that reads news (which come one by one), got {self.mode!r}",
        )
        super().check(instruments)

    def actor(
        self, instruments: Sequence[Instrument], metadata: ModelMetadata, first_ts_event: int = 0
    ) -> NewsBarActorConfig:
        """Return the configuration of the actor.

        Raises
        ------
        SchemaMismatch
            The model reads no news.
        """
        if not metadata.takes_news:
            raise SchemaMismatch(f"expected a model that takes {NewsBarActor.inputs}, got one of {metadata.inputs}")
        news = metadata.require_news()
        return NewsBarActorConfig(
            max_news_age_ns=news.max_age_ns,
            max_texts=news.max_texts,
            **self.actor_fields(instruments, metadata, first_ts_event),
        )

    def strategy_fields(self, instrument: Instrument, metadata: ModelMetadata) -> dict[str, Any]:
        return {
            **super().strategy_fields(instrument, metadata),
            "require_news": self.require_news,
            "veto_score": self.veto_score,
        }
