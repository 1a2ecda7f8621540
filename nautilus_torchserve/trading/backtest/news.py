"""Runs the news strategy over bars and headlines, with an ensemble's predictions asked bar by bar."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nautilus_trader.backtest.config import BacktestDataConfig

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars import run_bar_backtest
from nautilus_torchserve.trading.backtest.bars_results import BarBacktestResult
from nautilus_torchserve.trading.backtest.news_catalog import news_data, write_news_catalog
from nautilus_torchserve.trading.backtest.news_settings import NewsBacktestSettings
from nautilus_torchserve.trading.instruments.names import engine_name


def run_news_backtest(
    bars: Sequence[Bars],
    headlines: Sequence[Headline],
    settings: NewsBacktestSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> BarBacktestResult:
    """Run a backtest; bars are judged as in `trading.backtest.bars.run_bar_backtest`.

    Headlines are handed on when they were received, and told with the bars after that. Left out are those on other
    instruments, those too old for the first judged bar, and those received after the last one's close.

    Parameters
    ----------
    bars : sequence of Bars
        All there are, of different instruments of one interval and one settlement currency.
    headlines : sequence of Headline
        In any order; none at all leaves the price model's forecasts.
    settings : NewsBacktestSettings
    on_progress : callable, optional
        Called now and then with the number of bars done and of all.

    Returns
    -------
    BarBacktestResult
        Each instrument's ``news`` counts its headlines; column ``texts`` of its predictions says how many were told.

    Raises
    ------
    BadSetting, BadData, RequestError, UnreadableArchive
        As a backtest on bars alone.
    """
    names = {each.instrument.instrument_id for each in bars}
    traded = {name: engine_name(name) for name in names}
    ours = [
        replace(headline, instrument_ids=tuple(traded.get(name, name) for name in headline.instrument_ids))
        for headline in headlines
        if not names.isdisjoint(headline.instrument_ids)
    ]

    def news(folder: Path, metadata: ModelMetadata, first_ns: int, last_ns: int) -> list[BacktestDataConfig]:
        # A datum after the last bar would let orders on that bar's prediction meet a market that has ended.
        oldest_ns = first_ns - metadata.require_news().max_age_ns
        told = [each for each in ours if oldest_ns <= each.ts_init < last_ns]
        write_news_catalog(folder, told)
        return [news_data(folder)]

    return run_bar_backtest(bars, settings, on_progress, news)
