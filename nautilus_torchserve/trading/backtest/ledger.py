"""Exact accounting of an instrument's fills, by the formula that its venue publishes.

NautilusTrader rounds each fee and each profit to its currency's decimals, and averages an inverse contract's entry
prices arithmetically where venues weight them by value. The amounts here are decimal fractions of the fills' own
prices and sizes, beside the engine:

- linear contract, spot, equity, future, FX pair, quanto: ``quantity * multiplier * (exit - entry)``
- inverse contract: ``quantity * multiplier * (1 / entry - 1 / exit)``, in base currency
- fee: ``quantity * multiplier * price * rate`` and ``quantity * multiplier / price * rate``
"""

from collections import deque
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import NamedTuple

from nautilus_trader.model.enums import LiquiditySide, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Currency

from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.backtest.carry import Charge, ScheduledCharge, charge

_EXACT = Context(prec=50)
_ZERO = Decimal(0)


def account_currency(instrument: Instrument) -> Currency:
    """Return the currency that profits, losses and fees of an instrument are settled in.

    Raises
    ------
    BadData
        An inverse contract is settled in another currency than its base currency.
    """
    currency, settlement = instrument.get_cost_currency(), instrument.get_settlement_currency()
    if instrument.is_inverse and currency != settlement:
        raise BadData(
            f"{instrument.id}: expected an inverse contract settled in its base currency {currency}, got "
            f"{settlement}: define it as quanto (is_inverse false, the multiplier in {settlement})"
        )
    return currency


@dataclass(frozen=True)
class Contract:
    """The terms of an instrument that amounts of money follow from."""

    multiplier: Decimal
    """Units of the underlying (inverse: of the quote currency; quanto: settlement currency a point) of size 1."""
    is_inverse: bool
    """Whether size 1 is worth ``multiplier / price`` rather than ``multiplier * price``."""
    maker_fee: Decimal
    """Share of a fill's value."""
    taker_fee: Decimal
    """Share of a fill's value."""
    currency: str
    """Settlement currency, in which all amounts are."""

    @classmethod
    def of(cls, instrument: Instrument) -> "Contract":
        """Return the terms of an instrument."""
        return cls(
            multiplier=instrument.multiplier.as_decimal(),
            is_inverse=instrument.is_inverse,
            maker_fee=instrument.maker_fee,
            taker_fee=instrument.taker_fee,
            currency=account_currency(instrument).code,
        )

    def value(self, price: Decimal) -> Decimal:
        """Return the value of size 1 at a price, by which fees are charged."""
        return self.multiplier / price if self.is_inverse else self.multiplier * price

    def gain(self, entry: Decimal, exit_: Decimal) -> Decimal:
        """Return the profit of size 1 held long from one price to another, fees not included."""
        if self.is_inverse:
            return self.multiplier * (exit_ - entry) / (entry * exit_)
        return self.multiplier * (exit_ - entry)


class Fill(NamedTuple):
    """One fill, and the ledger after it."""

    ts_ns: int
    """Simulated Unix ns."""
    side: str
    """``BUY`` or ``SELL``."""
    price: Decimal
    quantity: Decimal
    fee: Decimal
    """In settlement currency."""
    position: Decimal
    """Signed size held after it."""
    gain: Decimal
    """Total profit so far after fees, the position valued at this fill's price; charges are not part of it."""


class RoundTrip(NamedTuple):
    """A position from its opening until it is flat or turned."""

    instrument_id: InstrumentId
    opening_order_id: ClientOrderId
    """Of the order whose fill opened it."""
    side: str
    """Of that order: ``BUY`` or ``SELL``."""
    quantity: Decimal
    """Largest size held."""
    ts_opened: int
    """Simulated Unix ns."""
    ts_closed: int
    """Simulated Unix ns."""
    price_opened: Decimal
    """Average over the fills that enlarged it; of an inverse contract weighted by value (harmonic)."""
    price_closed: Decimal
    """Average over the fills that reduced it, weighted in the same way."""
    value_opened: Decimal
    """Value of the opening, in settlement currency."""
    pnl: Decimal
    """Fees taken off; a fill that turns a position shares its fee between both by size."""
    fees: Decimal


class _AveragePrice:
    """Size and value of the fills on one side of a round trip."""

    def __init__(self) -> None:
        self.quantity, self.value = _ZERO, _ZERO

    def add(self, quantity: Decimal, contract: Contract, price: Decimal) -> None:
        self.quantity += quantity
        self.value += quantity * contract.value(price)

    def price(self, contract: Contract) -> Decimal:
        """Return the average price."""
        if contract.is_inverse:
            return contract.multiplier * self.quantity / self.value
        return self.value / (contract.multiplier * self.quantity)


class _OpenTrip:
    """The open round trip."""

    def __init__(self, event: OrderFilled) -> None:
        self.order_id = event.client_order_id
        self.side = event.order_side.name
        self.ts_opened = event.ts_event
        self.largest, self.pnl, self.fees = _ZERO, _ZERO, _ZERO
        self.entry, self.exit = _AveragePrice(), _AveragePrice()


class Ledger:
    """Books the fills of one instrument in the order in which they happen.

    Parameters
    ----------
    instrument : Instrument
        Its terms.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.contract = Contract.of(instrument)
        self.instrument_id: InstrumentId = instrument.id
        self.fills: list[Fill] = []
        """All fills so far."""
        self.round_trips: list[RoundTrip] = []
        """Closed positions, in order of their closing."""
        self.price = _ZERO
        """Price of the last fill."""
        self.position = _ZERO
        """Signed size held."""
        self.gain = _ZERO
        """Profit so far after fees, the position valued at the last fill's price."""
        self.dues: deque[ScheduledCharge] = deque()
        """Rates that positions are still to be charged with, in order of time."""
        self.charges: list[Charge] = []
        """Funding and interest so far, which neither ``gain`` nor the round trips include."""
        self.charged = _ZERO
        """Total cost of these."""
        self._open: _OpenTrip | None = None
        self._near = (0.0, 0.0, 1.0)

    def add(self, event: OrderFilled) -> None:
        """Book a fill, after what was due on the position before it."""
        self.accrue(event.ts_event)
        with localcontext(_EXACT):
            self._add(event)
            self._update_near()

    def accrue(self, ts_ns: int) -> None:
        """Charge the position with all that is due up to a time (simulated Unix ns)."""
        while self.dues and self.dues[0].ts_ns <= ts_ns:
            cost = charge(self.dues.popleft(), self.position, self.contract.value)
            if cost is not None:
                self.charges.append(cost)
                with localcontext(_EXACT):
                    self.charged += cost.cost
                    self._update_near()

    def gain_at(self, price: Decimal) -> Decimal:
        """Return the profit so far after fees and charges, the position valued at a price."""
        with localcontext(_EXACT):
            moved = self.position * self.contract.gain(self.price, price) if self.position else _ZERO
            return self.gain - self.charged + moved

    @property
    def holds(self) -> bool:
        """Whether there is a position."""
        return self._near[1] != 0.0

    def gain_near(self, price: float) -> float:
        """Return `gain_at` in floats, fast enough for every event."""
        gain, held, entry = self._near
        if not held:
            return gain
        return gain + held * (price - entry) / (entry * price if self.contract.is_inverse else 1.0)

    def _update_near(self) -> None:
        held = self.position * self.contract.multiplier
        self._near = (float(self.gain - self.charged), float(held), float(self.price))

    def _add(self, event: OrderFilled) -> None:
        price, quantity = event.last_px.as_decimal(), event.last_qty.as_decimal()
        fee = self._fee(event, price, quantity)
        signed = quantity if event.order_side == OrderSide.BUY else -quantity
        moved = self.position * self.contract.gain(self.price, price) if self.position else _ZERO
        self.gain += moved - fee
        against = self.position * signed < 0
        closing = min(quantity, abs(self.position)) if against else _ZERO
        if self._open is not None:
            self._open.pnl += moved
        if closing:
            self._close(event, price, closing, fee * closing / quantity)
        if opening := quantity - closing:
            self._enlarge(event, price, opening, fee * opening / quantity)
        self.price, self.position = price, self.position + signed
        self.fills.append(Fill(event.ts_event, event.order_side.name, price, quantity, fee, self.position, self.gain))

    def _fee(self, event: OrderFilled, price: Decimal, quantity: Decimal) -> Decimal:
        """Return the fee at the instrument's rate, or the engine's where they differ by more than rounding."""
        rate = self.contract.maker_fee if event.liquidity_side == LiquiditySide.MAKER else self.contract.taker_fee
        fee = quantity * self.contract.value(price) * rate
        charged = event.commission.as_decimal()
        step = Decimal(1).scaleb(-event.commission.currency.precision)
        return fee if abs(fee - charged) <= step + abs(fee) * Decimal("1e-9") else charged

    def _enlarge(self, event: OrderFilled, price: Decimal, quantity: Decimal, fee: Decimal) -> None:
        if self._open is None:
            self._open = _OpenTrip(event)
        trip = self._open
        trip.entry.add(quantity, self.contract, price)
        trip.largest = max(trip.largest, trip.entry.quantity - trip.exit.quantity)
        trip.pnl -= fee
        trip.fees += fee

    def _close(self, event: OrderFilled, price: Decimal, quantity: Decimal, fee: Decimal) -> None:
        trip = self._open
        assert trip is not None
        trip.exit.add(quantity, self.contract, price)
        trip.pnl -= fee
        trip.fees += fee
        if quantity < abs(self.position):
            return
        self.round_trips.append(
            RoundTrip(
                instrument_id=self.instrument_id,
                opening_order_id=trip.order_id,
                side=trip.side,
                quantity=trip.largest,
                ts_opened=trip.ts_opened,
                ts_closed=event.ts_event,
                price_opened=trip.entry.price(self.contract),
                price_closed=trip.exit.price(self.contract),
                value_opened=trip.entry.value,
                pnl=trip.pnl,
                fees=trip.fees,
            )
        )
        self._open = None
