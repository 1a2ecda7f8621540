"""What a tick backtest gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    prediction_table,
    round_trip_statistics,
)
from strategies.engine import only_actor
from strategies.inference_actor import InferenceActor
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
) -> BacktestResult:
    """Read the results out of an engine that has run."""
    actor = only_actor(engine, InferenceActor)
    balances = Balances.of(engine)
    said = recorded.predictions[actor.config.instrument_id]
    predictions = prediction_table(said, CLASSES)
    predictions.insert(3, "trade", np.array([prediction.number for prediction in said], dtype=np.int64))
    fills = fill_table(engine, actor.config.instrument_id)
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
        failed=len(actor.failed),
        last_error=actor.last_error,
        gave_up=actor.gave_up,
        not_arrived=len(actor.pending),
        past_trades=reasons.past_trades(recorded.closed),
        elapsed_s=elapsed_s,
    )
