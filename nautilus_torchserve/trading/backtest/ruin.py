"""Stops the trading of an account whose equity falls to zero or below."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, TradeTick
from nautilus_trader.model.events import OrderEvent, OrderFilled
from nautilus_trader.model.identifiers import InstrumentId, Venue

from nautilus_torchserve.trading.backtest.ledger import Ledger
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt


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

    Equity is marked to market at every trade or bar, as in the results. Positions are closed after all data of that
    time, at market: the final equity may be negative.

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

    def _price_handler(self, instrument_id: InstrumentId) -> Callable[[TradeTick | Bar], None]:
        """Return the handler of every event, fast while no position is held."""
        account, place = self._places[instrument_id]
        ledger, gains, balance = account.ledgers[place], account.gains, account.balance

        def on_price(data: TradeTick | Bar) -> None:
            if not ledger.holds:
                return
            price = data.price if isinstance(data, TradeTick) else data.close
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
