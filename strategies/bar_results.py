"""What a bar backtest gave, instrument by instrument and in all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.events import PositionClosed
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Money

from market.bars import Bars
from strategies.bookkeeping import (
    Balances,
    InstrumentResult,
    Recorder,
    RunResult,
    Statistics,
    Traded,
    equity_curve,
    fill_table,
    round_trip_statistics,
)
from strategies.news_counts import NewsCounts
from strategies.ready_run import Asked
from strategies.trade_reasons import Reasons


@dataclass(frozen=True)
class JudgedBars:
    """Bars of one instrument to run on."""

    run: Bars
    """All that go through the engine."""
    warm: int
    """How many of them, at the beginning, only fill the first window."""
    asked: int
    """How many of the others end a whole window with volume."""
    without_volume: int
    """How many end a window without any volume; the model is not asked about it."""
    note: str
    """Which bars are judged, and why."""

    @cached_property
    def bars(self) -> Bars:
        """Those that are judged."""
        return self.run.between(self.warm, len(self.run))


@dataclass(frozen=True, eq=False)
class BarResult(InstrumentResult):
    """One instrument's part; column ``bar`` of the predictions is a position in ``bars``."""

    bars: Bars
    """Those that were judged."""
    warm: int
    """Bars before them that filled the first window."""
    sample_note: str
    """Which bars were judged, and why."""
    news: NewsCounts | None
    """What became of the headlines about it; None where the model reads none."""
    without_volume: int
    """Bars that end a window without any volume; the model was not asked about it."""


@dataclass(frozen=True, eq=False)
class BarBacktestResult(RunResult):
    """What one backtest gave."""

    instruments: tuple[BarResult, ...]
    """In the order in which the bars were given."""
    equity: pd.DataFrame
    """``ts_ns`` and ``equity`` over all instruments, marked to their last closes, less fees."""
    statistics: Statistics
    """Over all closed positions."""

    @property
    def bars_per_s(self) -> float:
        """Judged bars a second of wall time, requests included."""
        return sum(len(each.bars) for each in self.instruments) / self.elapsed_s

    def together(self) -> InstrumentResult:
        """All instruments as one; the tables are not sorted by time."""
        parts = self.instruments
        return InstrumentResult(
            predictions=pd.concat([each.predictions for each in parts], ignore_index=True),
            fills=pd.concat([each.fills for each in parts], ignore_index=True),
            equity=self.equity,
            statistics=self.statistics,
            orders=sum(each.orders for each in parts),
            positions=sum(each.positions for each in parts),
            failed=sum(each.failed for each in parts),
            refused=sum(each.refused for each in parts),
            not_arrived=sum(each.not_arrived for each in parts),
            past_trades=tuple(trade for each in parts for trade in each.past_trades),
        )


def collect(
    judged: Sequence[JudgedBars],
    metadata: Mapping[str, Any],
    recorded: Recorder,
    engine: BacktestEngine,
    elapsed_s: float,
    reasons: Reasons,
    asked: Asked,
) -> BarBacktestResult:
    """Read the results out of an engine that has run."""
    balances = Balances.of(engine)
    instruments = tuple(
        _instrument_result(
            each, recorded, engine, asked, balances if len(judged) == 1 else None, reasons
        )
        for each in judged
    )
    traded = [_traded(each.bars, each.fills) for each in instruments]
    return BarBacktestResult(
        sample_note=" ".join(dict.fromkeys(each.note for each in judged)),
        metadata=metadata,
        instruments=instruments,
        equity=equity_curve(traded, balances.start.as_double()),
        currency=balances.currency.code,
        balance=balances.end.as_double(),
        statistics=round_trip_statistics(engine, recorded.closed, balances),
        last_error=asked.last_error,
        last_refusal=asked.last_refusal,
        gave_up=asked.gave_up,
        elapsed_s=elapsed_s,
    )


def _instrument_result(
    judged: JudgedBars,
    recorded: Recorder,
    engine: BacktestEngine,
    asked: Asked,
    balances: Balances | None,
    reasons: Reasons,
) -> BarResult:
    """``balances`` where the instrument has its account for itself."""
    bars = judged.bars
    instrument_id = InstrumentId.from_str(bars.instrument.instrument_id)
    predictions = recorded.predictions[instrument_id].table()
    predictions.insert(3, "bar", np.searchsorted(bars.ts_event, predictions["ts_event"].to_numpy()))
    fills = fill_table(engine, instrument_id)
    closed = recorded.closed_of(instrument_id)
    balances = balances or _own_balances(engine, instrument_id, closed)
    return BarResult(
        bars=bars,
        warm=judged.warm,
        sample_note=judged.note,
        news=asked.news[instrument_id],
        without_volume=judged.without_volume,
        predictions=predictions,
        fills=fills,
        equity=equity_curve([_traded(bars, fills)], balances.start.as_double()),
        statistics=round_trip_statistics(engine, closed, balances),
        orders=engine.cache.orders_total_count(instrument_id=instrument_id),
        positions=len(closed),
        failed=asked.failed[instrument_id],
        refused=asked.refused[instrument_id],
        not_arrived=asked.not_arrived[instrument_id],
        past_trades=reasons.past_trades(closed),
    )


def _own_balances(engine: BacktestEngine, instrument_id: InstrumentId, closed: Sequence[PositionClosed]) -> Balances:
    """The venue's account as if this instrument alone had been traded on it."""
    ((currency, start),) = engine.cache.account_for_venue(instrument_id.venue).starting_balances().items()
    made = sum(event.realized_pnl.as_decimal() for event in closed)
    return Balances(start, Money(start.as_decimal() + made, currency))


def _traded(bars: Bars, fills: pd.DataFrame) -> Traded:
    return Traded(bars.ts_event, bars.prices(), fills)
