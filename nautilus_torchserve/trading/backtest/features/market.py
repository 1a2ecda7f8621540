"""The market data that features of your own are computed from, and the quotes that orders meet."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, CustomData
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.quotes import breaks
from nautilus_torchserve.market.trades.trades import BadData, Trades, implied_quotes
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.catalog import bar_quote_ticks
from nautilus_torchserve.trading.backtest.closed_markets import ClosedMarkets
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import D, InstrumentData, Market
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.features.internal_bars import CLOSED_BAR, ClosedBar, InternalBars
from nautilus_torchserve.trading.features.stream import Stream, event_stream, merge
from nautilus_torchserve.trading.features.subscription import check_subscriptions, subscriptions_of
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.instruments.instruments import to_quote_ticks
from nautilus_torchserve.trading.instruments.resolve import Definition


class FeatureMarket(Market[D]):
    """Trades or bars of one or several instruments, which features are computed from.

    Data that the model was fitted on fill the features, without predictions.
    """

    noun = "event"
    report = "nautilus_torchserve.trading.backtest.features.report:REPORT"
    is_array_based = False

    def __init__(
        self,
        source: Any,
        parts: Sequence[InstrumentData[D]],
        settings: FeatureBacktestSettings,
        metadata: ModelMetadata,
    ) -> None:
        super().__init__(source, parts, settings, metadata)
        features = spec_of(settings.spec).features
        subscriptions = subscriptions_of(features, [instrument.id for instrument in self.instruments])
        check_subscriptions(subscriptions, [part.run for part in parts], settings.spec)
        self._internal = [
            subscription.bar_type
            for subscription in subscriptions
            if subscription.bar_type and subscription.is_internal
        ]

    @classmethod
    def events(cls, source: Sequence[D]) -> list[D]:
        if not source:
            raise BadData("expected data of at least 1 instrument, got none")
        return list(source)

    @classmethod
    def check_model(cls, metadata: ModelMetadata, events: Sequence[D]) -> None:
        """Do nothing: the actor refuses a model of other features when it connects."""

    @classmethod
    def part(cls, events: D, sample: Sample, definition: Definition, metadata: ModelMetadata) -> InstrumentData[D]:
        return InstrumentData(
            data=events.between(sample.first, len(events)),
            run=conform(events, definition.instrument),
            sample=sample,
            definition=definition,
            warm=sample.first,
        )

    @staticmethod
    def marks(data: D) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return (data.ts_event, data.close) if isinstance(data, Bars) else (data.ts_init, data.price)

    def topic(self, part: InstrumentData[D]) -> str:
        instrument_id = part.instrument.id
        if isinstance(part.run, Bars):
            return f"data.bars.{bar_type(instrument_id, part.run.interval_ns)}"
        return f"data.trades.{instrument_id.venue}.{instrument_id.symbol}"

    def write_catalog(self, folder: Path) -> list[BacktestDataConfig]:
        """Return nothing: `run` hands the data over."""
        return []

    def run(self, node: BacktestNode, engine: BacktestEngine) -> None:
        streams = [event_stream(part.run, part.instrument) for part in self.parts]
        times = [stream.ts_init for stream in streams]
        streams += [self._book_stream(part) for part in self.parts]  # at one time after them, as they move the book
        engine.add_data_iterator("market", self._chunks(streams))
        engine.run(start=min(int(time[0]) for time in times), end=max(int(time[-1]) for time in times))

    def _chunks(self, streams: Sequence[Stream]) -> Iterator[list[Data]]:
        """Yield all data, with bars that the engine would aggregate as data of their own."""
        for chunk in merge(streams, InternalBars(self._internal, self.instruments)):
            yield [
                CustomData(CLOSED_BAR, ClosedBar(data))
                if isinstance(data, Bar) and data.bar_type.is_internally_aggregated()
                else data
                for data in chunk
            ]

    def _book_stream(self, part: InstrumentData[D]) -> Stream:
        """Return the quotes that orders meet: those that trades imply, or those around bars."""
        run, instrument = part.run, part.instrument
        if isinstance(run, Trades):
            bid, ask = implied_quotes(run, tick_steps(instrument))
            columns = bid, ask, run.size, run.ts_event, run.ts_init
            return Stream(
                run.ts_init,
                lambda start, stop: to_quote_ticks(run.instrument, *(column[start:stop] for column in columns)),
            )
        quotes = bar_quote_ticks(run, instrument, self.settings.spread_bps)
        ts_init = np.array([quote.ts_init for quote in quotes], dtype=np.int64)
        return Stream(ts_init, lambda start, stop: quotes[start:stop])

    @property
    def venue_trades(self) -> Trades | None:
        run = self.parts[0].run
        return run if len(self.parts) == 1 and isinstance(run, Trades) else None

    def hold_orders(self, engine: BacktestEngine) -> Mapping[InstrumentId, int]:
        closed = {part.instrument.id: breaks(part.run) for part in self.parts if isinstance(part.run, Bars)}
        return ClosedMarkets(engine, closed).held if closed else super().hold_orders(engine)
