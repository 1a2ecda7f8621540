"""Ends the trading of an account that has nothing left."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, TradeTick
from nautilus_trader.model.events import OrderEvent, OrderFilled
from nautilus_trader.model.identifiers import InstrumentId, Venue

from strategies.decision import HALT_TOPIC, Halt
from strategies.ledger import Ledger


class Ruin(NamedTuple):
    """The moment at which an account had nothing left."""

    ts_ns: int
    """Simulated Unix ns."""
    equity: float
    """Of the account, marked to market; at most 0."""


class RuinGuard(Actor):
    """Publishes a `Halt` for a venue when the equity of its account is gone: positions are closed, trading ends.

    Equity is marked to market at every trade or bar, as in the results. Positions are closed after all data of that
    time, at the market: what is left may be less than nothing.

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
        self._ledgers = ledgers
        self._balance = float(balance)
        self._topics = topics
        self._prices: dict[InstrumentId, float] = {}
        self._accounts: dict[Venue, list[InstrumentId]] = {}
        for instrument_id in ledgers:
            self._accounts.setdefault(instrument_id.venue, []).append(instrument_id)

    def on_start(self) -> None:
        for topic in self._topics:
            self.msgbus.subscribe(topic=topic, handler=self._on_price)
        self.msgbus.subscribe(topic="events.order.*", handler=self._on_order)

    def _on_price(self, data: TradeTick | Bar) -> None:
        if isinstance(data, TradeTick):
            instrument_id, price = data.instrument_id, data.price.as_double()
        else:
            instrument_id, price = data.bar_type.instrument_id, data.close.as_double()
        self._prices[instrument_id] = price
        venue = instrument_id.venue
        if self._ledgers[instrument_id].position and self._is_ruined(venue):
            # Not at once: the quote that follows this event at the same time is not in the book yet.
            self.clock.set_time_alert_ns(f"ruin-{venue}", self.clock.timestamp_ns(), self._on_alert)

    def _on_order(self, event: OrderEvent) -> None:
        if isinstance(event, OrderFilled):
            self._prices[event.instrument_id] = event.last_px.as_double()
            if self._is_ruined(event.instrument_id.venue):
                self._halt(event.instrument_id.venue)

    def _on_alert(self, event: TimeEvent) -> None:
        self._halt(Venue(event.name.removeprefix("ruin-")))

    def _is_ruined(self, venue: Venue) -> bool:
        """Whether a venue's account has come to nothing just now."""
        if venue in self.ruins:
            return False
        gains = (self._ledgers[each].gain_near(self._prices.get(each, 1.0)) for each in self._accounts[venue])
        equity = self._balance + sum(gains)
        if equity > 0:
            return False
        self.ruins[venue] = Ruin(self.clock.timestamp_ns(), equity)
        return True

    def _halt(self, venue: Venue) -> None:
        ruin = self.ruins[venue]
        reason = f"the account at {venue} is ruined: equity of {ruin.equity:.2f}"
        self.msgbus.publish(topic=HALT_TOPIC, msg=Halt(reason, self.clock.timestamp_ns(), venue))
