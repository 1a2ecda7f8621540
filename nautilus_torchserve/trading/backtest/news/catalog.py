"""Conversion of headlines to NautilusTrader's data, and their catalog for backtests."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.news.headline import NewsHeadline

NEWS_CLIENT = "NEWS"
"""Name of the data client that headlines come from in a backtest; custom data need one."""


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
