"""Trades of one instrument, with the venue's quotes or those that the trades imply."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.model.data import QuoteTick, TradeTick
from numpy.typing import NDArray

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.market.quotes.catalog import has_quotes, load_catalog_quotes
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import InstrumentData, Market
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures
from nautilus_torchserve.trading.backtest.prefetch.stream import THREADS, Feed, threads_for
from nautilus_torchserve.trading.backtest.prefetch.ticks import ROWS, tick_predictions, tick_rows, trade_chunks
from nautilus_torchserve.trading.backtest.quoted import quotes_in_force, within_quotes
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.instruments.instruments import write_catalog
from nautilus_torchserve.trading.instruments.resolve import Definition
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig
from nautilus_torchserve.wire.errors import SchemaMismatch

CLASSES = ("buy", "sell", "hold")
"""Outputs of a tick model, in the order of `market.trades.labels`."""


@dataclass(frozen=True)
class TradesAndQuotes:
    """Input data of a backtest on trades whose orders meet the venue's quotes."""

    trades: Trades
    """Only those of the quotes' period, see `trading.backtest.quoted.within_quotes`."""
    quotes: Quotes
    """Quotes of the same instrument."""


def with_quotes(trades: Trades, path: Path | None) -> Trades | TradesAndQuotes:
    """Return trades with the venue's quotes, or alone where there are none.

    Parameters
    ----------
    path : Path, optional
        Files of quotes, or a NautilusTrader catalog; None takes those of the trades' catalog, where it has any.

    Raises
    ------
    BadData
        The quotes cannot be read, or are not of the trades' instrument and time.
    """
    name = trades.instrument.instrument_id
    if path is None:
        if trades.catalog is None or not has_quotes(trades.catalog, name):
            return trades
        path = trades.catalog
    if trades.simulated:
        raise BadData(f"{path}: expected quotes of recorded trades (--data), got simulated trades")
    is_catalog = (path / "data/quote_tick").is_dir()
    quotes = load_catalog_quotes(path, name) if is_catalog else load_quotes(path, name, trades.read)
    return TradesAndQuotes(within_quotes(trades, quotes), quotes)


class TradeMarket(Market[Trades]):
    """Trades of one instrument; a prediction for each after the first window.

    Parameters
    ----------
    source : Trades or TradesAndQuotes
    parts, settings, metadata
        As of `Market`.
    """

    noun = "trade"
    report = "nautilus_torchserve.trading.backtest.tick.report:REPORT"
    chunk = 8_192
    """Trades of a prefetched run that are handed to the engine at once: memory grows with them, no result changes."""

    def __init__(
        self,
        source: Trades | TradesAndQuotes,
        parts: Sequence[InstrumentData[Trades]],
        settings: Any,
        metadata: ModelMetadata,
    ) -> None:
        if isinstance(source, TradesAndQuotes):
            (part,) = parts
            parts = [replace(part, quotes=quotes_in_force(source.quotes, part.run, part.instrument))]
        super().__init__(source, parts, settings, metadata)

    @classmethod
    def events(cls, source: Trades | TradesAndQuotes, settings: Any) -> list[Trades]:
        return [source.trades if isinstance(source, TradesAndQuotes) else source]

    @classmethod
    def check_model(cls, metadata: ModelMetadata, events: Sequence[Trades]) -> None:
        trained_on = metadata.feature_schema
        schema = tick_schema(trained_on.window)
        if schema.sha256 != metadata.feature_schema_sha256:
            raise SchemaMismatch(f"expected a model trained on features {schema.name}, got {trained_on.name}")
        if not set(CLASSES) <= set(metadata.outputs):
            got = ", ".join(metadata.outputs)
            raise SchemaMismatch(f"expected a model with outputs {', '.join(CLASSES)}, got {got}")

    @classmethod
    def part(
        cls, events: Trades, sample: Sample, definition: Definition, metadata: ModelMetadata
    ) -> InstrumentData[Trades]:
        trades = events.between(sample.first, len(events))
        window = metadata.feature_schema.window
        if len(trades) <= window:
            raise BadData(f"{trades.source}: expected more than {window} trades to run on, got {len(trades)}")
        return InstrumentData(trades, conform(trades, definition.instrument), sample, definition)

    @staticmethod
    def marks(data: Trades) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return data.ts_init, data.price

    def topic(self, part: InstrumentData[Trades]) -> str:
        return f"data.trades.{part.instrument.id.venue}.{part.instrument.id.symbol}"

    def write_catalog(self, folder: Path) -> list[BacktestDataConfig]:
        """Write trades and quotes; return implied quotes after the trades of one time, the venue's before them.

        A trade sets both sides of the engine's book, so the quote that it implies has to follow it. A quote of the
        venue is what a trade of its time met; orders meet `venue_quotes`, whatever trades have done to the book.
        """
        (part,) = self.parts
        quotes = part.quotes
        if quotes is not None:  # a run ends with its last trade
            quotes = quotes.between(0, int(np.searchsorted(quotes.ts_init, part.run.ts_init[-1], side="right")))
        write_catalog(part.run, part.instrument, folder, quotes)
        kinds = (TradeTick, QuoteTick) if quotes is None else (QuoteTick, TradeTick)
        return [
            BacktestDataConfig(catalog_path=str(folder), data_cls=kind, instrument_id=part.instrument.id)
            for kind in kinds
        ]

    def feed(self, client: InferenceClient, actor: InferenceActorConfig) -> Feed:
        (part,) = self.parts
        trades, failures = part.run, Failures(actor.max_failures)
        threads, ahead = threads_for(actor.url), THREADS + 2 * self.chunk // ROWS
        return Feed(
            instrument_ids=(actor.instrument_id,),
            market=trade_chunks(trades, self.chunk, tick_steps(part.instrument), part.quotes),
            span_ns=(min(int(data.ts_init[0]) for data in (trades, part.quotes) if data), int(trades.ts_init[-1])),
            predictions=tick_predictions(trades, client, actor.window, actor.delay(), failures, threads, ahead),
            failures=failures,
            inputs=lambda _, number: tick_rows(trades, number, number + 1, actor.window)[0],
        )
