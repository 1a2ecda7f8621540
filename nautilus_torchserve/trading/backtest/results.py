"""What any backtest gave: predictions, fills, and the account by exact arithmetic of the fills."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd
from nautilus_trader.common.component import MessageBus
from nautilus_trader.model.events import OrderDenied, OrderEvent, OrderFilled, OrderRejected
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.market.trades.trades import Instrument as MarketInstrument
from nautilus_torchserve.reporting.backtest.trade_log import PastTrade
from nautilus_torchserve.scores.account import MIN_DAYS, AccountHistory, Statistics, return_statistics, trade_statistics
from nautilus_torchserve.scores.calendar import TradingCalendar
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.equity import MarkedMarket, equity_pieces, sum_up
from nautilus_torchserve.trading.backtest.holdout import SampleKind
from nautilus_torchserve.trading.backtest.ledger import Ledger, RoundTrip
from nautilus_torchserve.trading.backtest.prediction_log import PredictionLog
from nautilus_torchserve.trading.backtest.ruin import Ruin, RuinGuard
from nautilus_torchserve.trading.prediction import prediction_topic

_FIRST = 10
"""Priority of what books fills, above the strategies' own handlers."""


@dataclass(frozen=True, eq=False)
class InstrumentResult:
    """What was said about one instrument and done with it. Times are simulated Unix ns unless they say otherwise."""

    predictions: pd.DataFrame
    """``ts_event``, ``ts_init`` (arrival), ``latency_ns`` (measured), the position of the event each is about, and
    a float32 column for each output; in order of arrival."""
    fills: pd.DataFrame
    """``ts_ns``, ``side`` ("BUY" or "SELL"), ``price``, ``quantity``, ``fee``."""
    account: AccountHistory
    """The account as if this alone were traded, marked to the last price at every event, less fees."""
    equity: pd.DataFrame
    """``ts_ns``, ``equity``, ``drawdown``: that account thinned for a picture; the first row is the start."""
    statistics: Mapping[str, Statistics]
    """Group -> name -> value, all after fees; NaN where there is none."""
    statistics_basis: Mapping[str, str]
    """Group -> what its values are computed from."""
    orders: int
    """Orders submitted."""
    refused_orders: int
    """Orders that the engine denied or the venue rejected."""
    last_refused_order: str
    """Why the last of those was refused; empty without any."""
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
    ruin: Ruin | None
    """When the account that it is traded on had nothing left; None where it always had."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """What is the same for all instruments of a run."""

    sample_note: str
    """Which events were run on, and why."""
    in_sample: SampleKind
    """Whether the model's fit saw some of them."""
    metadata: ModelMetadata
    """The model's metadata."""
    currency: str
    """The accounts' currency: what the instruments are settled in."""
    balance: float
    """What the accounts are worth at the end."""
    last_error: str
    """What the last failed request said."""
    last_refusal: str
    """Why the last row was refused."""
    gave_up: bool
    """True when so many failed in a row that the actor stopped asking: the rest had no predictions."""
    elapsed_s: float
    """Wall time of the run."""


class Recorder:
    """Keeps what passes over the message bus and is nowhere to be found after a run.

    Parameters
    ----------
    bus : MessageBus
    instruments : iterable of Instrument
        What is traded.
    outputs : sequence of str
        Of the predictions.
    balance : Decimal
        Each venue's account before the run.
    """

    def __init__(
        self, bus: MessageBus, instruments: Iterable[Instrument], outputs: Sequence[str], balance: Decimal
    ) -> None:
        self.instruments = {instrument.id: instrument for instrument in instruments}
        """By their identifiers, in the order given."""
        self.balance = balance
        self.ruins: Mapping[Venue, Ruin] = {}
        """Accounts that had nothing left, and when."""
        self.predictions: dict[InstrumentId, PredictionLog] = {}
        """Instrument -> predictions about it, with these outputs."""
        self.ledgers: dict[InstrumentId, Ledger] = {}
        """Instrument -> its fills and closed positions."""
        self.refusals: list[OrderDenied | OrderRejected] = []
        """Of all instruments, in order."""
        for instrument in self.instruments.values():
            log = self.predictions[instrument.id] = PredictionLog(outputs)
            self.ledgers[instrument.id] = Ledger(instrument)
            bus.subscribe(topic=prediction_topic(instrument.id), handler=log.add)
        bus.subscribe(topic="events.order.*", handler=self._on_order, priority=_FIRST)

    def _on_order(self, event: OrderEvent) -> None:
        if isinstance(event, OrderFilled):
            self.ledgers[event.instrument_id].add(event)
        elif isinstance(event, OrderDenied | OrderRejected):
            self.refusals.append(event)

    def guard(self, topics: Mapping[str, InstrumentId]) -> RuinGuard:
        """The actor that ends the trading of ruined accounts; to be added to the engine.

        Parameters
        ----------
        topics : mapping
            Message bus topic of each instrument's trades or bars -> the instrument.
        """
        guard = RuinGuard(self.ledgers, self.balance, topics)
        self.ruins = guard.ruins
        return guard

    def refusals_of(self, instrument_id: InstrumentId) -> list[str]:
        """Why orders of one instrument were refused, in order."""
        return [event.reason for event in self.refusals if event.instrument_id == instrument_id]


def fill_table(ledger: Ledger) -> pd.DataFrame:
    """Every fill of an instrument, in order of time."""
    fills = ledger.fills
    return pd.DataFrame(
        {
            "ts_ns": np.array([fill.ts_ns for fill in fills], dtype=np.int64),
            "side": [fill.side for fill in fills],
            **{
                name: np.array([float(getattr(fill, name)) for fill in fills], dtype=np.float64)
                for name in ("price", "quantity", "fee")
            },
        }
    )


def marked_market(
    ledger: Ledger, instrument: MarketInstrument, ts_ns: NDArray[np.int64], price: NDArray[np.int64]
) -> MarkedMarket:
    """An instrument's ledger and the prices that it is valued at.

    Parameters
    ----------
    ts_ns : int64 [n]
        When each price was known, Unix ns.
    price : int64 [n]
        In the instrument's smallest steps.
    """
    precision = instrument.price_precision
    return MarkedMarket(
        ts_ns=ts_ns,
        prices=lambda start, stop: price[start:stop] / 10.0**precision,
        contract=ledger.contract,
        fills=ledger.fills,
        last_price=Decimal(int(price[-1])).scaleb(-precision),
    )


class Account(NamedTuple):
    """An account at the end of a run, and what it went through."""

    history: AccountHistory
    picture: pd.DataFrame
    """``ts_ns``, ``equity``, ``drawdown``."""
    statistics: Mapping[str, Statistics]
    basis: Mapping[str, str]


def account_of(
    ledgers: Sequence[Ledger],
    markets: Sequence[MarkedMarket],
    start: Decimal,
    calendar: TradingCalendar,
) -> Account:
    """The account that some instruments were traded on.

    Parameters
    ----------
    start : Decimal
        What it held before the first event.
    """
    end = start + sum(
        (ledger.gain_at(market.last_price) for ledger, market in zip(ledgers, markets, strict=True)), Decimal(0)
    )
    span_ns = min(int(each.ts_ns[0]) for each in markets), max(int(each.ts_ns[-1]) for each in markets)
    fees = sum((fill.fee for ledger in ledgers for fill in ledger.fills), Decimal(0))
    history, picture = sum_up(equity_pieces(markets, start), start, end, fees, span_ns, calendar)
    trips = sorted((trip for ledger in ledgers for trip in ledger.round_trips), key=lambda trip: trip.ts_closed)
    return Account(history, picture, *_statistics(history, trips, ledgers[0].contract.currency))


def _statistics(
    history: AccountHistory, trips: Sequence[RoundTrip], currency: str
) -> tuple[dict[str, Statistics], dict[str, str]]:
    calendar, days = history.calendar, len(history.day_equity)
    account, returns, trades = f"PnL ({currency})", "Returns", "Trades"
    made = np.array([float(trip.pnl) for trip in trips])
    shares = np.array([float(trip.pnl / trip.value_opened) for trip in trips])
    statistics: dict[str, Statistics] = {
        account: {
            "PnL (total)": history.pnl,
            "PnL% (total)": 100 * history.pnl / history.start,
            "Fees": history.fees,
            "Max Drawdown": history.max_drawdown,
            "Max Drawdown%": 100 * history.max_drawdown_share,
        },
        returns: return_statistics(history),
        trades: trade_statistics(made, shares),
    }
    few = (
        f"not enough days for ratios (at least {MIN_DAYS})"
        if days < MIN_DAYS
        else (f"annualised by {calendar.days_a_year} days, no risk-free rate")
    )
    basis = {
        account: "The account marked to market at every event, after fees.",
        returns: f"Daily returns of that account on {_counted(days, 'trading day')}, with trades or without "
        f"({calendar.name}); {few}.",
        trades: f"{_counted(len(trips), 'closed position')}, after the fees of opening and closing; returns on the "
        "value opened.",
    }
    return statistics, basis


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
