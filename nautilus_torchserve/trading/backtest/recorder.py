"""Records predictions, fills and refused orders of a run as they pass over the message bus."""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import MessageBus, TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, QuoteTick, TradeTick
from nautilus_trader.model.events import OrderDenied, OrderEvent, OrderFilled, OrderRejected
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Price
from numpy.typing import NDArray

from nautilus_torchserve.trading.backtest.carry import Schedule, charge_accounts
from nautilus_torchserve.trading.backtest.ledger import Ledger
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic


class Ruin(NamedTuple):
    """The moment at which an account's equity fell to zero or below."""

    ts_ns: int
    """Simulated Unix ns."""
    equity: float
    """Equity of the account, marked to market; at most 0."""


class _Account:
    """A venue's account: ledgers of its instruments, and the gain of each at its last price."""

    def __init__(self, venue: Venue, balance: float) -> None:
        self.venue = venue
        self.balance = balance
        self.ledgers: list[Ledger] = []
        self.gains: list[float] = []


class RuinGuard(Actor):
    """Publishes a `Halt` for a venue when the equity of its account is gone: positions are closed, trading ends.

    Equity is marked to market at every trade, bar or quote, as in the results. Positions are closed after all data of
    that time, at market: the final equity may be negative.

    Parameters
    ----------
    ledgers : mapping
        Of each instrument traded; they book a fill before this actor sees it.
    balance : Decimal
        Each venue's account at the start, in settlement currency.
    topics : mapping
        Message bus topic of each instrument's trades or bars -> the instrument.
    """

    def __init__(
        self, ledgers: Mapping[InstrumentId, Ledger], balance: Decimal, topics: Mapping[str, InstrumentId]
    ) -> None:
        super().__init__(ActorConfig())
        self.ruins: dict[Venue, Ruin] = {}
        """Accounts that were ruined, and when."""
        self._topics = topics
        self._accounts: dict[Venue, _Account] = {}
        self._places: dict[InstrumentId, tuple[_Account, int]] = {}
        for instrument_id, ledger in ledgers.items():
            account = self._accounts.setdefault(instrument_id.venue, _Account(instrument_id.venue, float(balance)))
            self._places[instrument_id] = account, len(account.ledgers)
            account.ledgers.append(ledger)
            account.gains.append(0.0)

    def on_start(self) -> None:
        for topic, instrument_id in self._topics.items():
            self.msgbus.subscribe(topic=topic, handler=self._price_handler(instrument_id))
        self.msgbus.subscribe(topic="events.order.*", handler=self._on_order)

    def _price_handler(self, instrument_id: InstrumentId) -> Callable[[TradeTick | Bar | QuoteTick], None]:
        """Return the handler of every event, fast while no position is held."""
        account, place = self._places[instrument_id]
        ledger, gains, balance = account.ledgers[place], account.gains, account.balance

        def on_price(data: TradeTick | Bar | QuoteTick) -> None:
            if not ledger.holds:
                return
            price = _mark(data)
            gains[place] = ledger.gain_near(price.as_double())
            if balance + sum(gains) <= 0 and self._is_first(account):
                # Not at once: the quote that follows this event at the same time is not in the book yet.
                self.clock.set_time_alert_ns(f"ruin-{account.venue}", self.clock.timestamp_ns(), self._on_alert)

        return on_price

    def _on_order(self, event: OrderEvent) -> None:
        if isinstance(event, OrderFilled):
            account, place = self._places[event.instrument_id]
            account.gains[place] = account.ledgers[place].gain_near(event.last_px.as_double())
            if account.balance + sum(account.gains) <= 0 and self._is_first(account):
                self._halt(account.venue)

    def _on_alert(self, event: TimeEvent) -> None:
        self._halt(Venue(event.name.removeprefix("ruin-")))

    def _is_first(self, account: _Account) -> bool:
        """Record the ruin of an account; return whether it is the first."""
        if account.venue in self.ruins:
            return False
        self.ruins[account.venue] = Ruin(self.clock.timestamp_ns(), account.balance + sum(account.gains))
        return True

    def _halt(self, venue: Venue) -> None:
        reason = f"the account at {venue} is ruined: equity of {self.ruins[venue].equity:.2f}"
        self.msgbus.publish(topic=HALT_TOPIC, msg=Halt(reason, self.clock.timestamp_ns(), venue))


def _mark(data: TradeTick | Bar | QuoteTick) -> Price:
    if isinstance(data, QuoteTick):
        return data.bid_price
    return data.price if isinstance(data, TradeTick) else data.close


_FIRST = 10
"""Priority of the handler that books fills, above the strategies' own."""
_WHOLE = ("ts_event", "ts_init", "latency_ns", "number")


class PredictionLog:
    """Predictions about one instrument in order of arrival, as columns: some 50 bytes each, as a long run has millions.

    Parameters
    ----------
    outputs : sequence of str
        Which outputs to keep.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        self._names = tuple(outputs)
        self._whole = array("q")
        self._outputs = array("f")

    def add(self, prediction: Prediction) -> None:
        """Append a prediction."""
        self._whole.extend((prediction.ts_event, prediction.ts_init, prediction.latency_ns, prediction.number))
        self._outputs.extend(map(prediction.outputs.__getitem__, self._names))

    def numbers(self) -> NDArray[np.int64]:
        """Return `Prediction.number` of each."""
        return self._columns()[:, 3].copy()

    def table(self) -> pd.DataFrame:
        """Return ``ts_event``, ``ts_init``, ``latency_ns`` and a float32 column for each output."""
        whole = self._columns()
        columns: dict[str, NDArray] = {name: whole[:, at].copy() for at, name in enumerate(_WHOLE[:3])}
        outputs = np.frombuffer(self._outputs, dtype=np.float32).reshape(-1, len(self._names))
        columns.update({name: outputs[:, at].copy() for at, name in enumerate(self._names)})
        return pd.DataFrame(columns)

    def _columns(self) -> NDArray[np.int64]:
        return np.frombuffer(self._whole, dtype=np.int64).reshape(-1, len(_WHOLE))


class Recorder:
    """Records messages that the engine does not keep.

    Parameters
    ----------
    bus : MessageBus
    instruments : iterable of Instrument
        Instruments traded.
    outputs : sequence of str
        Names of the predictions' outputs.
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
        """Ruined accounts, and when."""
        self.predictions: dict[InstrumentId, PredictionLog] = {}
        """Instrument -> predictions about it, with these outputs."""
        self.ledgers: dict[InstrumentId, Ledger] = {}
        """Instrument -> its fills and closed positions."""
        self.refusals: list[OrderDenied | OrderRejected] = []
        """Denied and rejected orders of all instruments, in order."""
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

    def charge(self, bus: MessageBus, carry: Mapping[InstrumentId, Schedule]) -> None:
        """Charge positions, and the engine's accounts, with funding and interest."""
        for instrument_id, schedule in carry.items():
            self.ledgers[instrument_id].dues.extend(schedule.dues)
        if carry:
            charged = {instrument_id: self.ledgers[instrument_id] for instrument_id in carry}
            charge_accounts(bus, charged, next(iter(charged.values())).contract.currency)

    def guard(self, topics: Mapping[str, InstrumentId]) -> RuinGuard:
        """Return the actor that ends the trading of ruined accounts; to be added to the engine.

        Parameters
        ----------
        topics : mapping
            Message bus topic of each instrument's trades or bars -> the instrument.
        """
        guard = RuinGuard(self.ledgers, self.balance, topics)
        self.ruins = guard.ruins
        return guard

    def refusals_of(self, instrument_id: InstrumentId) -> list[str]:
        """Return why orders of one instrument were refused, in order."""
        return [event.reason for event in self.refusals if event.instrument_id == instrument_id]
