"""Trades of one instrument, and the quotes that they imply."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.model.data import QuoteTick, TradeTick
from numpy.typing import NDArray

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import InstrumentData, Market
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures
from nautilus_torchserve.trading.backtest.prefetch.stream import THREADS, Feed, threads_for
from nautilus_torchserve.trading.backtest.prefetch.ticks import ROWS, tick_predictions, tick_rows, trade_chunks
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.instruments.instruments import write_catalog
from nautilus_torchserve.trading.instruments.resolve import Definition
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig
from nautilus_torchserve.wire.errors import SchemaMismatch

CLASSES = ("buy", "sell", "hold")
"""Outputs of a tick model, in the order of `market.trades.labels`."""


class TradeMarket(Market[Trades]):
    """Trades of one instrument; a prediction for each after the first window."""

    noun = "trade"
    report = "nautilus_torchserve.trading.backtest.tick.report:REPORT"
    chunk = 8_192
    """Trades of a prefetched run that are handed to the engine at once: memory grows with them, no result changes."""

    @classmethod
    def events(cls, source: Trades) -> list[Trades]:
        return [source]

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
        (part,) = self.parts
        write_catalog(part.run, part.instrument, folder)
        return [
            BacktestDataConfig(catalog_path=str(folder), data_cls=data_cls, instrument_id=part.instrument.id)
            for data_cls in (TradeTick, QuoteTick)  # in this order at one time: a trade, too, sets the book
        ]

    def feed(self, client: InferenceClient, actor: InferenceActorConfig) -> Feed:
        (part,) = self.parts
        trades, failures = part.run, Failures(actor.max_failures)
        threads, ahead = threads_for(actor.url), THREADS + 2 * self.chunk // ROWS
        return Feed(
            instrument_ids=(actor.instrument_id,),
            market=trade_chunks(trades, self.chunk, tick_steps(part.instrument)),
            span_ns=(int(trades.ts_init[0]), int(trades.ts_init[-1])),
            predictions=tick_predictions(trades, client, actor.window, actor.delay(), failures, threads, ahead),
            failures=failures,
            inputs=lambda _, number: tick_rows(trades, number, number + 1, actor.window)[0],
        )

    @property
    def venue_trades(self) -> Trades:
        return self.parts[0].run
