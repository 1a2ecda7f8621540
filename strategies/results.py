"""What a backtest gave: tables from the engine, and the equity marked to market."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.component import MessageBus
from nautilus_trader.core.datetime import unix_nanos_to_dt
from nautilus_trader.model.events import OrderFilled, PositionClosed, PositionEvent
from nautilus_trader.model.identifiers import InstrumentId, PositionId
from numpy.typing import NDArray

from market.trades import Trades
from strategies.inference_actor import InferenceActor
from strategies.prediction import Prediction, prediction_topic

EQUITY_POINTS = 1000
"""Regular points of the equity curve, besides those at fills."""
CLASSES = ("buy", "sell", "hold")
"""Outputs of the tick model, in the order of `market.labels`."""


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """What one backtest gave. All times are simulated Unix nanoseconds unless they say otherwise."""

    trades: Trades
    """The trades that were run on."""
    sample_note: str
    """Which trades those are, and why."""
    metadata: Mapping[str, Any]
    """The model's metadata."""
    predictions: pd.DataFrame
    """``ts_event``, ``ts_init`` (arrival), ``latency_ns`` (measured), ``trade`` (position in ``trades``), and a
    float32 column for each class; in order of arrival."""
    fills: pd.DataFrame
    """``ts_ns``, ``side`` ("BUY" or "SELL"), ``price``, ``quantity``, ``fee``."""
    equity: pd.DataFrame
    """``ts_ns`` and ``equity``, marked to the last trade, less fees; the first row is the start."""
    currency: str
    """The account's currency."""
    balance: float
    """The account's balance at the end, by the engine."""
    statistics: Mapping[str, Mapping[str, float]]
    """NautilusTrader's analyzer: group -> name -> value."""
    orders: int
    """Orders submitted."""
    positions: int
    """Positions held, each counted once it is closed."""
    failed: int
    """Requests that failed."""
    last_error: str
    """What the last of them said."""
    gave_up: bool
    """True when so many failed in a row that the actor stopped asking: the rest had no predictions."""
    not_arrived: int
    """Answers due only after the last trade, which never took effect."""
    elapsed_s: float
    """Wall time of the run."""

    @property
    def trades_per_s(self) -> float:
        """Trades a second of wall time, requests included."""
        return len(self.trades) / self.elapsed_s


class Recorder:
    """Keeps what passes over the message bus and is nowhere to be found after a run."""

    def __init__(self, bus: MessageBus, instrument_id: InstrumentId) -> None:
        self.predictions: list[Prediction] = []
        self.closed: list[PositionClosed] = []
        bus.subscribe(topic=prediction_topic(instrument_id), handler=self.predictions.append)
        bus.subscribe(topic="events.position.*", handler=self._on_position)

    def _on_position(self, event: PositionEvent) -> None:
        if isinstance(event, PositionClosed):
            self.closed.append(event)


def collect(
    trades: Trades,
    metadata: Mapping[str, Any],
    sample_note: str,
    recorded: Recorder,
    engine: BacktestEngine,
    elapsed_s: float,
) -> BacktestResult:
    """Read the results out of an engine that has run."""
    (actor,) = (found for found in engine.trader.actors() if isinstance(found, InferenceActor))
    (account,) = engine.cache.accounts()
    ((currency, start),) = account.starting_balances().items()
    fills = fill_table(engine)
    return BacktestResult(
        trades=trades,
        sample_note=sample_note,
        metadata=metadata,
        predictions=prediction_table(recorded.predictions, answered_trades(len(trades), actor)),
        fills=fills,
        equity=equity_curve(trades, fills, start.as_double()),
        currency=currency.code,
        balance=account.balance_total(currency).as_double(),
        statistics=round_trip_statistics(engine, recorded.closed),
        orders=engine.cache.orders_total_count(),
        positions=len(recorded.closed),
        failed=len(actor.failed),
        last_error=actor.last_error,
        gave_up=actor.gave_up,
        not_arrived=len(actor.pending),
        elapsed_s=elapsed_s,
    )


def answered_trades(total: int, actor: InferenceActor) -> NDArray[np.int64]:
    """Positions of the trades whose requests were answered, in order.

    Times do not tell: several trades may share one.
    """
    stop = actor.failed[-1] if actor.gave_up else total
    return np.setdiff1d(np.arange(actor.config.window, stop), actor.failed, assume_unique=True)


def prediction_table(predictions: Sequence[Prediction], answered: NDArray[np.int64]) -> pd.DataFrame:
    """Predictions as columns; they arrive in the order of their trades."""
    columns: dict[str, NDArray] = {
        name: np.array([getattr(prediction, name) for prediction in predictions], dtype=np.int64)
        for name in ("ts_event", "ts_init", "latency_ns")
    }
    columns["trade"] = answered[: len(predictions)]
    for name in CLASSES:
        columns[name] = np.array([prediction.outputs[name] for prediction in predictions], dtype=np.float32)
    return pd.DataFrame(columns)


def fill_table(engine: BacktestEngine) -> pd.DataFrame:
    """Every fill, in order of time."""
    events = [event for order in engine.cache.orders() for event in order.events if isinstance(event, OrderFilled)]
    events.sort(key=lambda event: event.ts_event)
    return pd.DataFrame(
        {
            "ts_ns": np.array([event.ts_event for event in events], dtype=np.int64),
            "side": [event.order_side.name for event in events],
            "price": np.array([event.last_px.as_double() for event in events], dtype=np.float64),
            "quantity": np.array([event.last_qty.as_double() for event in events], dtype=np.float64),
            "fee": np.array([event.commission.as_double() for event in events], dtype=np.float64),
        }
    )


def equity_curve(trades: Trades, fills: pd.DataFrame, start: float) -> pd.DataFrame:
    """Cash plus position at the last trade's price, at regular trades, at every fill and at the end.

    Parameters
    ----------
    start : float
        The account at the start.

    Returns
    -------
    DataFrame
        ``ts_ns``, ``equity``.
    """
    ts_fill = fills["ts_ns"].to_numpy()
    signed = np.where(fills["side"] == "BUY", 1.0, -1.0) * fills["quantity"].to_numpy()
    cash = np.concatenate([[0.0], np.cumsum(-signed * fills["price"].to_numpy() - fills["fee"].to_numpy())])
    held = np.concatenate([[0.0], np.cumsum(signed)])
    regular = np.linspace(0, len(trades) - 1, min(EQUITY_POINTS, len(trades))).astype(np.int64)
    ts_ns = np.unique(np.concatenate([trades.ts_init[regular], ts_fill]))
    filled = np.searchsorted(ts_fill, ts_ns, side="right")
    last_trade = np.searchsorted(trades.ts_init, ts_ns, side="right") - 1
    equity = start + cash[filled] + held[filled] * trades.prices()[last_trade]
    return pd.DataFrame({"ts_ns": ts_ns, "equity": equity})


def round_trip_statistics(engine: BacktestEngine, closed: Sequence[PositionClosed]) -> dict[str, dict[str, float]]:
    """The analyzer's statistics over all positions that were closed.

    The engine's own summary knows only the last one: with NETTING, a position that is opened by
    the order that closes another takes that one's identifier and its place in the cache.
    """
    (account,) = engine.cache.accounts()
    (currency,) = account.starting_balances()
    analyzer = engine.portfolio.analyzer
    analyzer.calculate_statistics(account, [])
    for number, event in enumerate(closed):
        analyzer.add_trade(PositionId(f"{number}"), event.realized_pnl)
        analyzer.add_return(unix_nanos_to_dt(event.ts_closed), event.realized_return)
    pnls = analyzer.get_performance_stats_pnls(currency) if closed else {}
    return {f"PnL ({currency.code})": pnls, "Returns": analyzer.get_performance_stats_returns()}
