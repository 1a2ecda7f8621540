"""Bars and the headlines about their instruments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.trading.backtest.bars.market import BarMarket
from nautilus_torchserve.trading.backtest.news.catalog import news_data, write_news_catalog
from nautilus_torchserve.trading.instruments.names import engine_name
from nautilus_torchserve.trading.news.actor import NewsBarActor
from nautilus_torchserve.trading.news.headline import NewsCounts


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

    @classmethod
    def events(cls, source: Any) -> list[Bars]:
        return super().events(source.bars)

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
