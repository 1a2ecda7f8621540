"""What a bar backtest gave, instrument by instrument and in all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.scores.account import AccountHistory, Statistics
from nautilus_torchserve.scores.calendar import widest
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.attribution import TradeAttribution
from nautilus_torchserve.trading.backtest.equity import MarkedMarket, calendar_of
from nautilus_torchserve.trading.backtest.holdout import Sample, SampleKind, worst
from nautilus_torchserve.trading.backtest.results import (
    InstrumentResult,
    Recorder,
    RunResult,
    account_of,
    fill_table,
    marked_market,
)
from nautilus_torchserve.trading.backtest.run import RequestStats
from nautilus_torchserve.trading.instruments.resolve import Definition
from nautilus_torchserve.trading.news.headline import NewsCounts


@dataclass(frozen=True)
class EvaluationBars:
    """Bars of one instrument to run on."""

    run: Bars
    """All that go through the engine."""
    warm: int
    """How many of them, at the beginning, only fill the first window."""
    asked: int
    """How many of the others end a whole window with volume."""
    without_volume: int
    """How many end a window without any volume; the model is not asked about it."""
    sample: Sample
    """Which bars are judged, and why."""
    definition: Definition
    """What they are traded as."""

    @cached_property
    def bars(self) -> Bars:
        """Those that are judged."""
        return self.run.between(self.warm, len(self.run))


@dataclass(frozen=True, eq=False)
class BarResult(InstrumentResult):
    """One instrument's part; column ``bar`` of the predictions is a position in ``bars``."""

    bars: Bars
    """Those that were judged."""
    definition: Definition
    """What they were traded as."""
    warm: int
    """Bars before them that filled the first window."""
    sample_note: str
    """Which bars were judged, and why."""
    in_sample: SampleKind
    """Whether the model's fit saw some of them."""
    held: int
    """Orders that were sent while the market was closed, and waited for its open."""
    news: NewsCounts | None
    """What became of the headlines about it; None where the model reads none."""
    without_volume: int
    """Bars that end a window without any volume; the model was not asked about it."""


@dataclass(frozen=True, eq=False)
class BarBacktestResult(RunResult):
    """What one backtest gave."""

    instruments: tuple[BarResult, ...]
    """In the order in which the bars were given."""
    account: AccountHistory
    """All accounts as one, marked to the instruments' last closes at every bar, less fees."""
    equity: pd.DataFrame
    """``ts_ns``, ``equity``, ``drawdown``: that account thinned for a picture; the first row is the start."""
    statistics: Mapping[str, Statistics]
    """As an instrument's, over all of them."""
    statistics_basis: Mapping[str, str]
    """Group -> what its values are computed from."""

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
            account=self.account,
            equity=self.equity,
            statistics=self.statistics,
            statistics_basis=self.statistics_basis,
            orders=sum(each.orders for each in parts),
            refused_orders=sum(each.refused_orders for each in parts),
            last_refused_order=next(filter(None, (each.last_refused_order for each in reversed(parts))), ""),
            positions=sum(each.positions for each in parts),
            failed=sum(each.failed for each in parts),
            refused=sum(each.refused for each in parts),
            not_arrived=sum(each.not_arrived for each in parts),
            past_trades=tuple(trade for each in parts for trade in each.past_trades),
            ruin=min((each.ruin for each in parts if each.ruin is not None), default=None),
        )


def collect(
    judged: Sequence[EvaluationBars],
    metadata: ModelMetadata,
    recorded: Recorder,
    engine: BacktestEngine,
    elapsed_s: float,
    reasons: TradeAttribution,
    asked: RequestStats,
    held: Mapping[InstrumentId, int],
) -> BarBacktestResult:
    """Read the results out of an engine that has run; the recorder's instruments are in the order of the bars.

    Parameters
    ----------
    held : mapping
        How many orders of each instrument waited for its market's open.
    """
    instruments = list(recorded.instruments.values())
    results = tuple(
        _instrument_result(each, instrument, recorded, engine, reasons, asked, held)
        for each, instrument in zip(judged, instruments, strict=True)
    )
    venues = {instrument.id.venue for instrument in instruments}
    ledgers = [recorded.ledgers[instrument.id] for instrument in instruments]
    markets = [_market(recorded, each.bars, instrument) for each, instrument in zip(judged, instruments, strict=True)]
    account = account_of(ledgers, markets, recorded.balance * len(venues), widest(map(calendar_of, instruments)))
    return BarBacktestResult(
        sample_note=" ".join(dict.fromkeys(each.sample.note for each in judged)),
        in_sample=worst(each.sample.in_sample for each in judged),
        metadata=metadata,
        instruments=results,
        account=account.history,
        equity=account.picture,
        statistics=account.statistics,
        statistics_basis=account.basis,
        currency=ledgers[0].contract.currency,
        balance=account.history.end,
        last_error=asked.last_error,
        last_refusal=asked.last_refusal,
        gave_up=asked.gave_up,
        elapsed_s=elapsed_s,
    )


def _instrument_result(
    judged: EvaluationBars,
    instrument: Instrument,
    recorded: Recorder,
    engine: BacktestEngine,
    reasons: TradeAttribution,
    asked: RequestStats,
    held: Mapping[InstrumentId, int],
) -> BarResult:
    bars = judged.bars
    predictions = recorded.predictions[instrument.id].table()
    predictions.insert(3, "bar", np.searchsorted(bars.ts_event, predictions["ts_event"].to_numpy()))
    ledger, refusals = recorded.ledgers[instrument.id], recorded.refusals_of(instrument.id)
    account = account_of([ledger], [_market(recorded, bars, instrument)], recorded.balance, calendar_of(instrument))
    return BarResult(
        bars=bars,
        definition=judged.definition,
        warm=judged.warm,
        sample_note=judged.sample.note,
        in_sample=judged.sample.in_sample,
        held=held[instrument.id],
        news=asked.news[instrument.id],
        without_volume=judged.without_volume,
        predictions=predictions,
        fills=fill_table(ledger),
        account=account.history,
        equity=account.picture,
        statistics=account.statistics,
        statistics_basis=account.basis,
        orders=engine.cache.orders_total_count(instrument_id=instrument.id),
        refused_orders=len(refusals),
        last_refused_order=refusals[-1] if refusals else "",
        positions=len(ledger.round_trips),
        failed=asked.failed[instrument.id],
        refused=asked.refused[instrument.id],
        not_arrived=asked.not_arrived[instrument.id],
        past_trades=reasons.past_trades(ledger.round_trips),
        ruin=recorded.ruins.get(instrument.id.venue),
    )


def _market(recorded: Recorder, bars: Bars, instrument: Instrument) -> MarkedMarket:
    return marked_market(recorded.ledgers[instrument.id], bars.instrument, bars.ts_event, bars.close)
