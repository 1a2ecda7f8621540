"""What a tick backtest gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine

from market.trades import Trades
from strategies.bookkeeping import (
    Balances,
    InstrumentResult,
    Recorder,
    RunResult,
    Traded,
    equity_curve,
    fill_table,
    round_trip_statistics,
)
from strategies.ready_run import Asked
from strategies.trade_reasons import Reasons

CLASSES = ("buy", "sell", "hold")
"""Outputs of the tick model, in the order of `market.labels`."""


@dataclass(frozen=True, eq=False)
class BacktestResult(InstrumentResult, RunResult):
    """What one backtest gave; column ``trade`` of the predictions is a position in ``trades``."""

    trades: Trades
    """The trades that were run on."""

    @property
    def trades_per_s(self) -> float:
        """Trades a second of wall time, requests included."""
        return len(self.trades) / self.elapsed_s


def collect(
    trades: Trades,
    metadata: Mapping[str, Any],
    sample_note: str,
    recorded: Recorder,
    engine: BacktestEngine,
    elapsed_s: float,
    reasons: Reasons,
    asked: Asked,
) -> BacktestResult:
    """Read the results out of an engine that has run."""
    ((instrument_id, log),) = recorded.predictions.items()
    balances = Balances.of(engine)
    predictions = log.table()
    predictions.insert(3, "trade", log.numbers())
    fills = fill_table(engine, instrument_id)
    return BacktestResult(
        trades=trades,
        sample_note=sample_note,
        metadata=metadata,
        predictions=predictions,
        fills=fills,
        equity=equity_curve([Traded(trades.ts_init, trades.prices(), fills)], balances.start.as_double()),
        currency=balances.currency.code,
        balance=balances.end.as_double(),
        statistics=round_trip_statistics(engine, recorded.closed, balances),
        orders=engine.cache.orders_total_count(),
        positions=len(recorded.closed),
        failed=asked.failed[instrument_id],
        refused=asked.refused[instrument_id],
        last_error=asked.last_error,
        last_refusal=asked.last_refusal,
        gave_up=asked.gave_up,
        not_arrived=asked.not_arrived[instrument_id],
        past_trades=reasons.past_trades(recorded.closed),
        elapsed_s=elapsed_s,
    )
