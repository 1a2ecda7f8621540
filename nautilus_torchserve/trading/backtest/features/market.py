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
from nautilus_trader.model.data import Bar, CustomData
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
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
from nautilus_torchserve.trading.features.arrays import load_market_data
from nautilus_torchserve.trading.features.internal_bars import CLOSED_BAR, ClosedBar, InternalBars
from nautilus_torchserve.trading.features.stream import Stream, event_streams, merge, series_streams
from nautilus_torchserve.trading.features.subscription import (
    Events,
    check_subscriptions,
    held_data,
    predicted,
    split_custom,
    subscriptions_of,
)
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
        source: Sequence[Events],
        parts: Sequence[InstrumentData[Any]],
        settings: FeatureBacktestSettings,
        metadata: ModelMetadata,
    ) -> None:
        source, self._custom = split_custom(source)
        of_venue = _quotes_by_name(source)
        parts = [_with_quotes(part, of_venue.get(_name(part.data))) for part in parts]
        super().__init__(source, parts, settings, metadata)
        met = {held_data(data) for part in parts for data in (part.run, part.quotes) if data is not None}
        beside = [data for data in source if held_data(data) not in met]
        self._beside = load_market_data(beside, settings.instruments)
        """Data that features are computed from besides: of instruments that are not traded, or of other bars."""
        subscriptions = subscriptions_of(spec_of(settings.spec).features, [part.instrument.id for part in parts])
        held = [part.run for part in parts] + [part.quotes for part in parts if part.quotes is not None]
        check_subscriptions(subscriptions, [*held, *self._beside.series, *self._custom], settings.spec)
        self._internal = [item.bar_type for item in subscriptions if item.bar_type and item.is_internal]

    @classmethod
    def events(cls, source: Sequence[Events], settings: Any) -> list[Trades | Bars | Quotes]:
        source, _ = split_custom(source)
        if not source:
            raise BadData("expected data of at least 1 instrument, got none")
        quotes, held = _quotes_by_name(source), [held_data(data) for data in source]
        if len(set(held)) < len(held):
            raise BadData(f"expected data of different instruments or kinds, got {', '.join(map(str, held))}")
        about = predicted(spec_of(settings.spec).features, [item.instrument_id for item in held if item.instrument_id])
        traded: dict[str, Trades | Bars | Quotes] = {}
        for data in sorted(source, key=_coarseness):
            traded.setdefault(_name(data), data)
        return [
            _within(data, quotes)
            for data, item in zip(source, held, strict=True)
            if item.instrument_id in about and traded[_name(data)] is data
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

    @property
    def known_instruments(self) -> list[Instrument]:
        """What is traded, after the instruments whose data are there besides: a venue's account is in its currency."""
        known = {instrument.id: instrument for instrument in (*self._beside.instruments, *self.instruments)}
        return list(known.values())

    def run(self, node: BacktestNode, engine: BacktestEngine) -> None:
        streams = series_streams(*zip(*self._in_order(), strict=True))
        # At one time the quotes of the venue, which trades met, come first; those that trades imply follow them.
        streams += [stream for part in self.parts if (stream := self._assumed_quotes(part)) is not None]
        last_ns = max(int(stream.ts_init[-1]) for stream in streams)
        streams += [Stream(events.ts_init, events.wrapped) for events in self._custom if len(events)]
        engine.add_data_iterator("market", self._chunks(streams))
        engine.run(start=min(int(stream.ts_init[0]) for stream in streams), end=last_ns)

    def _in_order(self) -> Iterator[tuple[Trades | Bars | Quotes, Instrument]]:
        """Yield all data in the order in which they were given, with their instruments."""
        parts = {_name(part.data): part for part in self.parts}
        beside = zip(self._beside.series, self._beside.instruments, strict=True)
        for data in self.source:
            part = parts.get(_name(data))
            if part is None or held_data(data) not in (held_data(part.run), held_data(part.quotes or part.run)):
                yield next(beside)
            elif held_data(data) == held_data(part.run):
                yield part.run, part.instrument
            elif part.quotes is not None:
                yield part.quotes, part.instrument

    def _chunks(self, streams: Sequence[Stream]) -> Iterator[list[Data]]:
        """Yield all data, with bars that the engine would aggregate as data of their own."""
        for chunk in merge(streams, InternalBars(self._internal, self.known_instruments)):
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


def _coarseness(data: Trades | Bars | Quotes) -> tuple[int, int]:
    """Return a key by which those data of an instrument that orders are best filled and valued on come first."""
    if isinstance(data, Bars):
        return 1, data.interval_ns
    return 2 * isinstance(data, Quotes), 0


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
