"""Bars and the headlines about their instruments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.market import BarMarket
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.instruments.names import engine_name
from nautilus_torchserve.trading.news.actor import NewsBarActor, NewsBarActorConfig
from nautilus_torchserve.trading.news.headline import NewsCounts, NewsHeadline
from nautilus_torchserve.wire.errors import SchemaMismatch

NEWS_CLIENT = "NEWS"
"""Name of the data client that headlines come from in a backtest; custom data need one."""


@dataclass(frozen=True)
class BarsAndNews:
    """Input data of a backtest on bars and headlines."""

    bars: Sequence[Bars]
    """All bars, of different instruments of one interval and one settlement currency."""
    headlines: Sequence[Headline]
    """In any order; without any, forecasts are the price model's."""


class NewsMarket(BarMarket):
    """A `BarMarket` with headlines, which are delivered when they were received.

    Headlines about other instruments, those too old for the first evaluated bar, and those received after the
    last one's close are omitted.
    """

    is_array_based = False

    @classmethod
    def events(cls, source: Any, settings: Any) -> list[Bars]:
        return super().events(source.bars, settings)

    def write_catalog(self, folder: Path) -> list[BacktestDataConfig]:
        write_news_catalog(folder, self._headlines())
        return [*super().write_catalog(folder), news_data(folder)]

    def news(self, actor: NewsBarActor) -> dict[InstrumentId, NewsCounts | None]:
        return {instrument.id: actor.news_counts(instrument.id) for instrument in self.instruments}

    def _headlines(self) -> list[Headline]:
        names = [part.data.instrument.instrument_id for part in self.parts]
        traded = {name: engine_name(name) for name in names}
        first_ns, last_ns = self.span_ns
        oldest_ns = first_ns - self.metadata.require_news().max_age_ns
        # A datum after the last bar would let orders on that bar's prediction meet a market that has ended.
        return [
            replace(headline, instrument_ids=tuple(traded.get(name, name) for name in headline.instrument_ids))
            for headline in self.source.headlines
            if not traded.keys().isdisjoint(headline.instrument_ids) and oldest_ns <= headline.ts_init < last_ns
        ]


def news_objects(headlines: Iterable[Headline]) -> list[NewsHeadline]:
    """Convert headlines to NautilusTrader's data, by time of receipt; order is kept within one time."""
    return [
        NewsHeadline(
            ts_event=headline.ts_event,
            ts_init=headline.ts_init,
            text=headline.text,
            source=headline.source,
            instrument_ids=[InstrumentId.from_str(value) for value in headline.instrument_ids],
        )
        for headline in sorted(headlines, key=lambda headline: headline.ts_init)
    ]


def write_news_catalog(folder: Path, headlines: Sequence[Headline]) -> None:
    """Write headlines into a `ParquetDataCatalog`, which may hold other data; no-op without headlines.

    Raises
    ------
    BadData
        The catalog already holds headlines of the same time. NautilusTrader itself would write over them, or
        write and raise afterwards.
    """
    if not headlines:
        return
    catalog = ParquetDataCatalog(folder)
    news = news_objects(headlines)
    first, last = news[0].ts_init, news[-1].ts_init
    for begin, end in catalog.get_intervals(NewsHeadline):
        if first <= end and begin <= last:
            raise BadData(
                f"{folder}: expected headlines received before {begin} or after {end} (Unix ns), as the catalog holds "
                f"headlines of that time, got {first} to {last}"
            )
    catalog.write_data(news)


def news_data(folder: Path) -> BacktestDataConfig:
    """Return the catalog's headlines as a part of a run's data, for `trading.backtest.engine.run_config`.

    It loads all of them, and names no instrument: NautilusTrader would look for instruments of that name.

    Each arrives once, at its ``ts_init``, on `trading.news.headline.HEADLINE_TOPIC`. Where that is
    the very time of other data, the part that stands first among the run's is handled first.
    """
    return BacktestDataConfig(
        catalog_path=str(folder), data_cls=f"{NewsHeadline.__module__}:{NewsHeadline.__name__}", client_id=NEWS_CLIENT
    )


@dataclass(frozen=True)
class NewsBacktestSettings(BarBacktestSettings):
    """Settings of one backtest on bars and headlines."""

    model: str = "ensemble"
    """The model's name."""
    spec: str = "ensemble"
    require_news: bool = False
    """Whether only forecasts with at least one headline open or turn a position."""
    veto_score: float | None = None
    """No position is opened or turned against a sentiment of at least this strength, in (0, 1]; None: no veto."""

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
