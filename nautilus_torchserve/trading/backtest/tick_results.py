"""What a tick backtest gave."""

from dataclasses import dataclass

from nautilus_trader.backtest.engine import BacktestEngine

from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.attribution import TradeAttribution
from nautilus_torchserve.trading.backtest.equity import calendar_of
from nautilus_torchserve.trading.backtest.holdout import Sample
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

CLASSES = ("buy", "sell", "hold")
"""Outputs of the tick model, in the order of `market.trades.labels`."""


@dataclass(frozen=True, eq=False)
class BacktestResult(InstrumentResult, RunResult):
    """What one backtest gave; column ``trade`` of the predictions is a position in ``trades``."""

    trades: Trades
    """The trades that were run on."""
    definition: Definition
    """What they were traded as."""

    @property
    def trades_per_s(self) -> float:
        """Trades a second of wall time, requests included."""
        return len(self.trades) / self.elapsed_s


def collect(
    trades: Trades,
    definition: Definition,
    metadata: ModelMetadata,
    sample: Sample,
    recorded: Recorder,
    engine: BacktestEngine,
    elapsed_s: float,
    reasons: TradeAttribution,
    asked: RequestStats,
) -> BacktestResult:
    """Read the results out of an engine that has run."""
    ((instrument_id, log),) = recorded.predictions.items()
    ledger, refusals = recorded.ledgers[instrument_id], recorded.refusals_of(instrument_id)
    predictions = log.table()
    predictions.insert(3, "trade", log.numbers())
    market = marked_market(ledger, trades.instrument, trades.ts_init, trades.price)
    account = account_of([ledger], [market], recorded.balance, calendar_of(definition.instrument))
    return BacktestResult(
        trades=trades,
        definition=definition,
        sample_note=sample.note,
        in_sample=sample.in_sample,
        metadata=metadata,
        predictions=predictions,
        fills=fill_table(ledger),
        account=account.history,
        equity=account.picture,
        statistics=account.statistics,
        statistics_basis=account.basis,
        currency=ledger.contract.currency,
        balance=account.history.end,
        orders=engine.cache.orders_total_count(),
        refused_orders=len(refusals),
        last_refused_order=refusals[-1] if refusals else "",
        positions=len(ledger.round_trips),
        failed=asked.failed[instrument_id],
        refused=asked.refused[instrument_id],
        last_error=asked.last_error,
        last_refusal=asked.last_refusal,
        gave_up=asked.gave_up,
        not_arrived=asked.not_arrived[instrument_id],
        past_trades=reasons.past_trades(ledger.round_trips),
        ruin=recorded.ruins.get(instrument_id.venue),
        elapsed_s=elapsed_s,
    )
