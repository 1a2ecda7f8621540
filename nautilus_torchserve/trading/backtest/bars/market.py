"""Bars of one or several instruments, and the quotes around them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.data import Bar, BarType, QuoteTick
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_schema, breaks_note, have_volume, window_ends
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.quotes import breaks
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.catalog import write_bar_catalog
from nautilus_torchserve.trading.backtest.closed_markets import ClosedMarkets
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import InstrumentData, Market
from nautilus_torchserve.trading.backtest.prefetch.bars import BarsRun, BarWindows, bar_chunk, bar_predictions
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures
from nautilus_torchserve.trading.backtest.prefetch.stream import Feed, threads_for
from nautilus_torchserve.trading.bars.actor import BarInferenceActorConfig
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.instruments.conform import conform
from nautilus_torchserve.trading.instruments.resolve import Definition
from nautilus_torchserve.wire.errors import SchemaMismatch


class BarMarket(Market[Bars]):
    """Bars of one interval; a prediction for each that ends a whole window with volume.

    Bars that the model was fitted on fill the first windows, so that the first bar after them has its prediction.
    """

    noun = "bar"
    report = "nautilus_torchserve.trading.backtest.bars.report:REPORT"

    @classmethod
    def events(cls, source: Any, settings: Any) -> list[Bars]:
        if not source:
            raise BadData("expected bars of at least 1 instrument, got none")
        intervals = [f"{bars.interval_ns / 1e9:g} s of {bars.instrument.instrument_id}" for bars in source]
        if len({bars.interval_ns for bars in source}) > 1:
            raise BadData(f"expected bars of one interval, got {', '.join(intervals)}")
        return list(source)

    @classmethod
    def check_model(cls, metadata: ModelMetadata, events: Sequence[Bars]) -> None:
        trained_on = metadata.require_bars() if metadata.takes_bars else None
        if trained_on is None or bar_schema(trained_on.indicators).sha256 != metadata.feature_schema_sha256:
            raise SchemaMismatch(
                f"expected a model trained on features {bar_schema().name} as they are computed here, got "
                f"{metadata.feature_schema.name}"
            )
        if not {"return_bps", "confidence"} <= set(metadata.outputs):
            got = ", ".join(metadata.outputs)
            raise SchemaMismatch(f"expected a model with outputs return_bps and confidence, got {got}")
        if trained_on.interval_ns != events[0].interval_ns:
            raise SchemaMismatch(
                f"expected a model of {events[0].interval_ns / 1e9:g} s bars, got one of "
                f"{trained_on.interval_ns / 1e9:g} s"
            )

    @classmethod
    def part(
        cls, events: Bars, sample: Sample, definition: Definition, metadata: ModelMetadata
    ) -> InstrumentData[Bars]:
        windows = metadata.require_bars()
        lookback = bar_schema(windows.indicators).window
        run = events.between(max(0, sample.first - lookback + 1), len(events))
        warm = len(run) - (len(events) - sample.first)
        ends = window_ends(run.ts_event, windows.max_gap_ns, lookback)
        ends = ends[ends >= warm]
        with_volume = int(have_volume(run.volumes(), ends).sum())
        if not with_volume:
            raise BadData(
                f"{events.source}: expected {lookback} bars with volume and without a break, got fewer among {len(run)}"
                f"{breaks_note(run.ts_event, windows.max_gap_ns)}"
            )
        return InstrumentData(
            data=run.between(warm, len(run)),
            run=conform(run, definition.instrument),
            sample=sample,
            definition=definition,
            warm=warm,
            without_volume=len(ends) - with_volume,
        )

    @staticmethod
    def marks(data: Bars) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return data.ts_event, data.close

    def topic(self, part: InstrumentData[Bars]) -> str:
        return f"data.bars.{_bar_type(part)}"

    def write_catalog(self, folder: Path) -> list[BacktestDataConfig]:
        """Return all bars, then the quotes.

        No strategy sees a quote before the bar that closed with it, and no order is sent before both.
        """
        for part in self.parts:
            write_bar_catalog(part.run, part.instrument, _bar_type(part), self.settings.spread_bps, folder)
        bars = [
            BacktestDataConfig(catalog_path=str(folder), data_cls=Bar, bar_types=[str(_bar_type(part))])
            for part in self.parts
        ]
        quotes = [
            BacktestDataConfig(catalog_path=str(folder), data_cls=QuoteTick, instrument_id=instrument.id)
            for instrument in self.instruments
        ]
        return bars + quotes

    def feed(self, client: InferenceClient, actor: BarInferenceActorConfig) -> Feed:
        runs = [BarsRun(part.run, part.instrument, _bar_type(part)) for part in self.parts]
        failures, windows = Failures(actor.max_failures), BarWindows(runs, actor)
        market = bar_chunk(runs, self.settings.spread_bps)
        return Feed(
            instrument_ids=tuple(instrument.id for instrument in self.instruments),
            market=[market],
            span_ns=(min(int(times[0]) for _, times in market.streams), market.until_ns - 1),
            predictions=bar_predictions(windows, client, actor.delay(), failures, threads_for(actor.url)),
            failures=failures,
            inputs=windows.window,
        )

    def hold_orders(self, engine: BacktestEngine) -> Mapping[InstrumentId, int]:
        return ClosedMarkets(engine, {part.instrument.id: breaks(part.run) for part in self.parts}).held


def _bar_type(part: InstrumentData[Bars]) -> BarType:
    return bar_type(part.instrument.id, part.run.interval_ns)
