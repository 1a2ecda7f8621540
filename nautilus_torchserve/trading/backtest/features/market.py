"""The market data that features of your own are computed from, and the quotes that orders meet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, CustomData, DataType
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.quotes import breaks
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.catalog import bar_quote_ticks
from nautilus_torchserve.trading.backtest.closed_markets import ClosedMarkets
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import InstrumentData, Market
from nautilus_torchserve.trading.backtest.quoted import quotes_in_force, within_quotes
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.features.custom_data import CustomSeries, split_custom
from nautilus_torchserve.trading.features.internal_bars import CLOSED_BAR, ClosedBar, InternalBars
from nautilus_torchserve.trading.features.stream import Stream, event_streams, merge
from nautilus_torchserve.trading.features.subscription import check_subscriptions, subscriptions_of
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.instruments.instruments import implied
from nautilus_torchserve.trading.instruments.names import engine_name
from nautilus_torchserve.trading.instruments.resolve import Definition


class FeatureMarket(Market[Any]):
    """Trades, bars or quotes of one or several instruments, which features are computed from.

    Trades and bars may have the venue's quotes beside them, which orders then meet. Data that the model was fitted on
    fill the features, without predictions.
    """

    noun = "event"
    report = "nautilus_torchserve.trading.backtest.features.report:REPORT"
    is_array_based = False

    def __init__(
        self,
        source: Sequence[Trades | Bars | Quotes | CustomSeries],
        parts: Sequence[InstrumentData[Any]],
        settings: FeatureBacktestSettings,
        metadata: ModelMetadata,
    ) -> None:
        of_market, custom = split_custom(source)
        beside = _quotes_by_name(of_market)
        parts = [_with_quotes(part, beside.get(_name(part.data))) for part in parts]
        super().__init__(source, parts, settings, metadata)
        subscriptions = subscriptions_of(spec_of(settings.spec).features, [part.instrument.id for part in parts])
        held = [part.run for part in parts] + [part.quotes for part in parts if part.quotes is not None]
        check_subscriptions(subscriptions, [*held, *custom], settings.spec)
        self._custom = custom
        self._internal = [item.bar_type for item in subscriptions if item.bar_type and item.is_internal]

    @classmethod
    def events(cls, source: Sequence[Trades | Bars | Quotes | CustomSeries]) -> list[Trades | Bars | Quotes]:
        of_market, _ = split_custom(source)
        if not of_market:
            raise BadData("expected data of at least 1 instrument, got none")
        quotes = _quotes_by_name(of_market)
        traded = {_name(data) for data in of_market if not isinstance(data, Quotes)}
        return [
            _within(data, quotes) for data in of_market if not isinstance(data, Quotes) or _name(data) not in traded
        ]

    @classmethod
    def check_model(cls, metadata: ModelMetadata, events: Sequence[Trades | Bars | Quotes]) -> None:
        """Do nothing: the actor refuses a model of other features when it connects."""

    @classmethod
    def part(cls, events: Any, sample: Sample, definition: Definition, metadata: ModelMetadata) -> InstrumentData[Any]:
        return InstrumentData(
            data=events.between(sample.first, len(events)),
            run=conform(events, definition.instrument),
            sample=sample,
            definition=definition,
            warm=sample.first,
        )

    @staticmethod
    def marks(data: Trades | Bars | Quotes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the prices of trades, closes of bars, and bids of quotes."""
        if isinstance(data, Bars):
            return data.ts_event, data.close
        return data.ts_init, data.bid_price if isinstance(data, Quotes) else data.price

    def topic(self, part: InstrumentData[Any]) -> str:
        instrument_id = part.instrument.id
        if isinstance(part.run, Bars):
            return f"data.bars.{bar_type(instrument_id, part.run.interval_ns)}"
        kind = "quotes" if isinstance(part.run, Quotes) else "trades"
        return f"data.{kind}.{instrument_id.venue}.{instrument_id.symbol}"

    def write_catalog(self, folder: Path) -> list[BacktestDataConfig]:
        """Return nothing: `run` hands the data over."""
        return []

    def run(self, node: BacktestNode, engine: BacktestEngine) -> None:
        events = [stream for part in self.parts for stream in event_streams(part.run, part.instrument)]
        beside = [(part.quotes, part.instrument) for part in self.parts if part.quotes is not None]
        quotes = [stream for pair in beside for stream in event_streams(*pair)]
        assumed = [stream for part in self.parts if (stream := self._assumed_quotes(part)) is not None]
        # At one time the quotes of the venue, which trades met, come first; those that trades imply follow them.
        last_ns = max(int(stream.ts_init[-1]) for stream in (*quotes, *events))
        received = [series.received_between(0, last_ns) for series in self._custom]
        streams = [*quotes, *events, *assumed, *(_published(series) for series in received if len(series))]
        engine.add_data_iterator("market", self._chunks(streams))
        spans = [stream.ts_init[[0, -1]].tolist() for stream in streams]
        engine.run(start=min(first for first, _ in spans), end=max(last for _, last in spans))

    def _chunks(self, streams: Sequence[Stream]) -> Iterator[list[Data]]:
        """Yield all data, with bars that the engine would aggregate as data of their own."""
        for chunk in merge(streams, InternalBars(self._internal, self.instruments)):
            yield [
                CustomData(CLOSED_BAR, ClosedBar(data))
                if isinstance(data, Bar) and data.bar_type.is_internally_aggregated()
                else data
                for data in chunk
            ]

    def _assumed_quotes(self, part: InstrumentData[Any]) -> Stream | None:
        """Return the quotes that trades imply, or those around bars; None where there are the venue's."""
        run, instrument = part.run, part.instrument
        if part.quotes is not None or isinstance(run, Quotes):
            return None
        if isinstance(run, Trades):
            (stream,) = event_streams(implied(run, tick_steps(instrument)), instrument)
            return stream
        quotes = bar_quote_ticks(run, instrument, self.settings.spread_bps)
        ts_init = np.array([quote.ts_init for quote in quotes], dtype=np.int64)
        return Stream(ts_init, lambda start, stop: quotes[start:stop])

    def hold_orders(self, engine: BacktestEngine) -> Mapping[InstrumentId, int]:
        closed = {part.instrument.id: breaks(part.run) for part in self.parts if isinstance(part.run, Bars)}
        return ClosedMarkets(engine, closed).held if closed else super().hold_orders(engine)


def _published(series: CustomSeries) -> Stream:
    """Return the stream of custom data, as the engine publishes them."""
    data_type = DataType(series.data_class)
    return Stream(
        series.ts_init, lambda start, stop: [CustomData(data_type, datum) for datum in series.data[start:stop]]
    )


def _name(data: Trades | Bars | Quotes) -> str:
    return engine_name(data.instrument.instrument_id).upper()


def _quotes_by_name(source: Sequence[Trades | Bars | Quotes]) -> dict[str, Quotes]:
    """Return the quotes by their instrument; refuse several of one."""
    quotes = [data for data in source if isinstance(data, Quotes)]
    by_name = {_name(data): data for data in quotes}
    if len(by_name) < len(quotes):
        raise BadData(f"expected quotes of different instruments, got {', '.join(map(_name, quotes))}")
    return by_name


def _within(data: Any, quotes: Mapping[str, Quotes]) -> Any:
    """Return the trades or bars of their quotes' period; all data where there are no quotes beside them."""
    beside = None if isinstance(data, Quotes) else quotes.get(_name(data))
    return data if beside is None else within_quotes(data, beside)


def _with_quotes(part: InstrumentData[Any], quotes: Quotes | None) -> InstrumentData[Any]:
    """Return an instrument's data with the quotes in force from its first event to its last."""
    if quotes is None or isinstance(part.run, Quotes):
        return part
    return replace(part, quotes=quotes_in_force(quotes, part.run, part.instrument))
