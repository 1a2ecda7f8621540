"""What a tick backtest gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine
from numpy.typing import NDArray

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
    predictions = prediction_table(recorded.predictions[actor.config.instrument_id], CLASSES)
    predictions.insert(3, "trade", answered_trades(len(trades), actor)[: len(predictions)])
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


def answered_trades(total: int, actor: InferenceActor) -> NDArray[np.int64]:
    """Positions of the trades whose requests were answered, in order; predictions arrive in that order.

    Times do not tell: several trades may share one.
    """
    stop = actor.failed[-1] if actor.gave_up else total
    return np.setdiff1d(np.arange(actor.config.window, stop), actor.failed, assume_unique=True)
