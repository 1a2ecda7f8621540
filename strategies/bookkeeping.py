"""What any backtest gave: tables from the engine, and the equity marked to market."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.component import MessageBus
from nautilus_trader.core.datetime import unix_nanos_to_dt
from nautilus_trader.model.events import OrderFilled, PositionClosed, PositionEvent
from nautilus_trader.model.identifiers import InstrumentId, PositionId
from nautilus_trader.model.objects import Currency, Money
from numpy.typing import NDArray

from reporting.trade_log import PastTrade
from strategies.prediction import prediction_topic
from strategies.prediction_log import PredictionLog

EQUITY_POINTS = 1000
"""Regular points of an instrument's equity curve, besides those at fills."""
Statistics = Mapping[str, Mapping[str, float]]
"""NautilusTrader's analyzer: group -> name -> value."""


@dataclass(frozen=True, eq=False)
class InstrumentResult:
    """What was said about one instrument and done with it. Times are simulated Unix ns unless they say otherwise."""

    predictions: pd.DataFrame
    """``ts_event``, ``ts_init`` (arrival), ``latency_ns`` (measured), the position of the event each is about, and
    a float32 column for each output; in order of arrival."""
    fills: pd.DataFrame
    """``ts_ns``, ``side`` ("BUY" or "SELL"), ``price``, ``quantity``, ``fee``."""
    equity: pd.DataFrame
    """``ts_ns`` and ``equity``, marked to the last price, less fees; the first row is the start."""
    statistics: Statistics
    """Over its closed positions."""
    orders: int
    """Orders submitted."""
    positions: int
    """Positions held, each counted once it is closed."""
    failed: int
    """Events that got no answer."""
    refused: int
    """Events whose features the model refused: it answered, but with no prediction."""
    not_arrived: int
    """Answers due only after the last event, which never took effect."""
    past_trades: tuple[PastTrade, ...]
    """Its closed positions, each with the prediction it was opened on."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """What is the same for all instruments of a run."""

    sample_note: str
    """Which events were run on, and why."""
    metadata: Mapping[str, Any]
    """The model's metadata."""
    currency: str
    """The accounts' currency."""
    balance: float
    """What the accounts hold at the end, by the engine."""
    last_error: str
    """What the last failed request said."""
    last_refusal: str
    """Why the last row was refused."""
    gave_up: bool
    """True when so many failed in a row that the actor stopped asking: the rest had no predictions."""
    elapsed_s: float
    """Wall time of the run."""


class Recorder:
    """Keeps what passes over the message bus and is nowhere to be found after a run."""

    def __init__(self, bus: MessageBus, instrument_ids: Iterable[InstrumentId], outputs: Sequence[str]) -> None:
        self.predictions: dict[InstrumentId, PredictionLog] = {}
        """Instrument -> predictions about it, with these outputs."""
        self.closed: list[PositionClosed] = []
        """Closed positions of all instruments, in order."""
        for instrument_id in instrument_ids:
            log = self.predictions[instrument_id] = PredictionLog(outputs)
            bus.subscribe(topic=prediction_topic(instrument_id), handler=log.add)
        bus.subscribe(topic="events.position.*", handler=self._on_position)

    def _on_position(self, event: PositionEvent) -> None:
        if isinstance(event, PositionClosed):
            self.closed.append(event)

    def closed_of(self, instrument_id: InstrumentId) -> list[PositionClosed]:
        """Closed positions of one instrument, in order."""
        return [event for event in self.closed if event.instrument_id == instrument_id]


@dataclass(frozen=True)
class Balances:
    """The accounts of a run as if they were one; enough of an account for the analyzer."""

    start: Money
    """At the start."""
    end: Money
    """At the end."""

    @classmethod
    def of(cls, engine: BacktestEngine) -> "Balances":
        """All accounts of an engine; they have one currency."""
        accounts = engine.cache.accounts()
        (currency,) = {currency for account in accounts for currency in account.starting_balances()}
        start = sum(account.starting_balances()[currency].as_decimal() for account in accounts)
        end = sum(account.balance_total(currency).as_decimal() for account in accounts)
        return cls(Money(start, currency), Money(end, currency))

    @property
    def currency(self) -> Currency:
        """Theirs."""
        return self.start.currency

    def starting_balances(self) -> dict[Currency, Money]:
        """As an account says it."""
        return {self.currency: self.start}

    def balances_total(self) -> dict[Currency, Money]:
        """As an account says it."""
        return {self.currency: self.end}


def fill_table(engine: BacktestEngine, instrument_id: InstrumentId) -> pd.DataFrame:
    """Every fill of an instrument, in order of time."""
    orders = engine.cache.orders(instrument_id=instrument_id)
    events = [event for order in orders for event in order.events if isinstance(event, OrderFilled)]
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


class Traded(NamedTuple):
    """An instrument's prices, and what was traded at them."""

    ts_ns: NDArray[np.int64]
    """When each price was known, Unix ns [n], increasing or equal."""
    price: NDArray[np.float64]
    """In quote currency [n]."""
    fills: pd.DataFrame
    """As `fill_table` gives them; none before the first price."""


def equity_curve(traded: Sequence[Traded], start: float) -> pd.DataFrame:
    """Cash plus positions at their last prices, at regular events of each instrument, at every fill and at the end.

    Parameters
    ----------
    start : float
        The accounts at the start.

    Returns
    -------
    DataFrame
        ``ts_ns``, ``equity``.
    """
    points = [each.fills["ts_ns"].to_numpy() for each in traded]
    for each in traded:
        regular = np.linspace(0, len(each.ts_ns) - 1, min(EQUITY_POINTS, len(each.ts_ns))).astype(np.int64)
        points.append(each.ts_ns[regular])
    ts_ns = np.unique(np.concatenate(points))
    equity = start + sum(_gains(each, ts_ns) for each in traded)
    return pd.DataFrame({"ts_ns": ts_ns, "equity": equity})


def _gains(traded: Traded, ts_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    fills = traded.fills
    signed = np.where(fills["side"] == "BUY", 1.0, -1.0) * fills["quantity"].to_numpy()
    cash = np.concatenate([[0.0], np.cumsum(-signed * fills["price"].to_numpy() - fills["fee"].to_numpy())])
    held = np.concatenate([[0.0], np.cumsum(signed)])
    filled = np.searchsorted(fills["ts_ns"].to_numpy(), ts_ns, side="right")
    last = np.searchsorted(traded.ts_ns, ts_ns, side="right") - 1
    return cash[filled] + held[filled] * traded.price[np.maximum(last, 0)]  # nothing is held before the first price


def round_trip_statistics(engine: BacktestEngine, closed: Sequence[PositionClosed], balances: Balances) -> Statistics:
    """The analyzer's statistics over positions that were closed.

    The engine's own summary knows only the last one: with NETTING, a position that is opened by
    the order that closes another takes that one's identifier and its place in the cache.

    Parameters
    ----------
    balances : Balances
        What these positions began and ended with.
    """
    currency = balances.currency
    analyzer = engine.portfolio.analyzer
    analyzer.calculate_statistics(balances, [])
    for number, event in enumerate(closed):
        analyzer.add_trade(PositionId(f"{number}"), event.realized_pnl)
        analyzer.add_return(unix_nanos_to_dt(event.ts_closed), event.realized_return)
    pnls = analyzer.get_performance_stats_pnls(currency) if closed else {}
    return {f"PnL ({currency.code})": pnls, "Returns": analyzer.get_performance_stats_returns()}
