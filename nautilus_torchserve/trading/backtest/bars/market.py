"""Bars of one or several instruments, and the quotes around them.

NautilusTrader's simulated exchange has no market hours: it fills a market order at the last quote, however old. So
in a backtest orders to a market in a break are held on their way to the exchange, and go on with the first quote
after the break.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import (
    CancelAllOrders,
    CancelOrder,
    SubmitOrder,
    SubmitOrderList,
    TradingCommand,
)
from nautilus_trader.model.data import Bar, BarType, QuoteTick
from nautilus_trader.model.events import OrderCanceled
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.orders import Order
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_schema, have_volume, window_ends
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.quotes import Breaks, breaks
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.catalog import write_bar_catalog
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import InstrumentData, Market
from nautilus_torchserve.trading.backtest.prefetch.bars import BarsRun, BarWindows, bar_chunk, bar_predictions
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures
from nautilus_torchserve.trading.backtest.prefetch.stream import Feed, threads_for
from nautilus_torchserve.trading.bars.actor import BarInferenceActor, BarInferenceActorConfig
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
    def events(cls, source: Any) -> list[Bars]:
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

    def failures(self, actor: BarInferenceActor) -> tuple[dict[InstrumentId, int], dict[InstrumentId, int]]:
        failed = {instrument_id: len(events) for instrument_id, events in actor.failed.items()}
        return failed, {instrument_id: len(events) for instrument_id, events in actor.refused_rows.items()}

    def hold_orders(self, engine: BacktestEngine) -> Mapping[InstrumentId, int]:
        return ClosedMarkets(engine, {part.instrument.id: breaks(part.run) for part in self.parts}).held


def _bar_type(part: InstrumentData[Bars]) -> BarType:
    return bar_type(part.instrument.id, part.run.interval_ns)


ENDPOINT = "ExecEngine.execute"
"""Endpoint of the commands that the risk engine accepts."""


class ClosedMarkets:
    """Holds the orders of one backtest while their market is closed.

    An order that waits stays ``INITIALIZED``, and may be canceled.

    Parameters
    ----------
    engine : BacktestEngine
        Built, and not run yet.
    breaks : mapping of InstrumentId to Breaks
        When each market is closed; one that is not named never is.
    """

    def __init__(self, engine: BacktestEngine, breaks: Mapping[InstrumentId, Breaks]) -> None:
        self.held: Counter[InstrumentId] = Counter()
        """Number of orders that had to wait so far."""
        self._engine = engine.kernel.exec_engine
        self._clock = engine.kernel.clock
        self._breaks = breaks
        self._waiting: dict[InstrumentId, list[SubmitOrder | SubmitOrderList]] = {}
        bus = engine.kernel.msgbus
        bus.deregister(endpoint=ENDPOINT, handler=self._engine.execute)
        bus.register(endpoint=ENDPOINT, handler=self._execute)
        for instrument_id in breaks:
            topic = f"data.quotes.{instrument_id.venue}.{instrument_id.symbol}"
            bus.subscribe(topic=topic, handler=self._on_quote)

    def is_closed(self, instrument_id: InstrumentId) -> bool:
        """Return whether an instrument's market is closed now."""
        breaks = self._breaks.get(instrument_id)
        if breaks is None:
            return False
        now_ns = self._clock.timestamp_ns()
        last = int(np.searchsorted(breaks.closed_ns, now_ns, side="right")) - 1
        return last >= 0 and now_ns < breaks.open_ns[last]

    def _execute(self, command: TradingCommand) -> None:
        instrument_id = command.instrument_id
        if isinstance(command, SubmitOrder | SubmitOrderList) and self.is_closed(instrument_id):
            self._waiting.setdefault(instrument_id, []).append(command)
            self.held[instrument_id] += len(_orders(command))
        elif not (isinstance(command, CancelOrder | CancelAllOrders) and self._cancel(command)):
            self._engine.execute(command)

    def _on_quote(self, quote: QuoteTick) -> None:
        if self._waiting and not self.is_closed(quote.instrument_id):
            for command in self._waiting.pop(quote.instrument_id, []):
                self._engine.execute(command)

    def _cancel(self, command: CancelOrder | CancelAllOrders) -> bool:
        """Cancel waiting orders; return whether the command is done with that."""
        waiting = self._waiting.get(command.instrument_id, [])
        for held in list(waiting):
            orders = _orders(held)
            if isinstance(command, CancelOrder):
                named = command.client_order_id in {order.client_order_id for order in orders}
            else:
                named = command.strategy_id == held.strategy_id
            if named:
                waiting.remove(held)
                for order in orders:
                    self._engine.process(self._canceled(order))
                if isinstance(command, CancelOrder):
                    return True
        return False

    def _canceled(self, order: Order) -> OrderCanceled:
        now_ns = self._clock.timestamp_ns()
        return OrderCanceled(
            trader_id=order.trader_id,
            strategy_id=order.strategy_id,
            instrument_id=order.instrument_id,
            client_order_id=order.client_order_id,
            venue_order_id=None,
            account_id=None,
            event_id=UUID4(),
            ts_event=now_ns,
            ts_init=now_ns,
        )


def _orders(command: SubmitOrder | SubmitOrderList) -> list[Order]:
    return [command.order] if isinstance(command, SubmitOrder) else command.order_list.orders
