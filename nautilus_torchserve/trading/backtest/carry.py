"""The cost of holding a position: funding of perpetuals, and interest on what was borrowed to sell short.

A rate is charged on the position held just before its time, valued at the last price known by then. Due times, rates
and prices are known before the run, so that they do not depend on what the engine does in which order; the ledger books
them between fills, and `CarryModule` takes them from the engine's own account.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from nautilus_trader.backtest.config import SimulationModuleConfig
from nautilus_trader.backtest.engine import SimulatedExchange
from nautilus_trader.backtest.modules import SimulationModule
from nautilus_trader.common.component import Logger, MessageBus
from nautilus_trader.core.data import Data
from nautilus_trader.model.enums import AssetClass
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.instruments import (
    Cfd,
    CryptoPerpetual,
    CurrencyPair,
    Equity,
    Instrument,
)
from nautilus_trader.model.objects import Currency, Money
from numpy.typing import NDArray

from nautilus_torchserve.market.funding import HOUR_NS, Rates, load_borrow, load_funding
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData, utc_text
from nautilus_torchserve.trading.checks import BadSetting

YEAR_HOURS = 365 * 24
"""Hours of the year that an annual rate is for."""
BORROWED = (CryptoPerpetual, CurrencyPair, Equity, Cfd)
"""Instruments that are borrowed to be sold short; a pair of coins that may be spot is a linear
`CryptoPerpetual`."""
_EXACT = Context(prec=50)
Kind = Literal["funding", "borrow"]


class ScheduledCharge(NamedTuple):
    """A rate that is charged at a time, if a position is held."""

    ts_ns: int
    """Simulated Unix ns."""
    kind: Kind
    rate: Decimal
    """Share of the position's value; of borrowing that of the time since the charge before it."""
    price: Decimal
    """Price that the position is valued at: the last one known at that time."""


class Charge(NamedTuple):
    """What a position cost at one time."""

    ts_ns: int
    """Simulated Unix ns."""
    kind: Kind
    rate: Decimal
    price: Decimal
    position: Decimal
    """Signed size held."""
    cost: Decimal
    """In settlement currency; negative where the position was paid."""


def charge(due: ScheduledCharge, position: Decimal, value: Callable[[Decimal], Decimal]) -> Charge | None:
    """Return what a position costs at a due time; None for a position that pays nothing.

    Longs pay funding where the rate is positive, and shorts receive it; only shorts pay interest.

    Parameters
    ----------
    position : Decimal
        Signed size.
    value : callable
        Value of size 1 at a price, in settlement currency.
    """
    if not position or (due.kind == "borrow" and position > 0):
        return None
    held = position if due.kind == "funding" else -position
    with localcontext(_EXACT):
        return Charge(due.ts_ns, due.kind, due.rate, due.price, position, due.rate * held * value(due.price))


@dataclass(frozen=True)
class Schedule:
    """All times at which one instrument's position may be charged."""

    kind: Kind
    dues: Sequence[ScheduledCharge]
    """In order of time."""
    notes: tuple[str, ...]
    """Where the rates are from, what is missing, and how they are charged, a sentence each."""


class Marks(NamedTuple):
    """An instrument and the prices that its position is valued at."""

    instrument: Instrument
    instrument_id: str
    """Its name in the data."""
    ts_ns: NDArray[np.int64]
    """When each price was known, Unix ns [n], non-decreasing."""
    price: NDArray[np.int64]
    """In steps of 10**-precision [n]."""
    precision: int
    read: ReadOptions
    """How the data were read; the rates' times without an offset are of the same zone."""

    def at(self, ts_ns: int) -> Decimal:
        """Return the last price known at a time."""
        row = int(np.searchsorted(self.ts_ns, ts_ns, side="right")) - 1
        return Decimal(int(self.price[row])).scaleb(-self.precision)


def schedules(funding: Path | None, borrow: str | None, marks: Sequence[Marks]) -> dict[InstrumentId, Schedule]:
    """Return what each instrument's position is charged with during a run; those without rates are left out.

    Funding is charged on perpetuals. Where both are given, borrow is charged on the other instruments alone.

    Raises
    ------
    BadSetting
        No instrument of the run is of the kind that a rate is for.
    BadData
        The rates cannot be read, or are not of the run's instruments and period.
    """
    perpetuals = [mark for mark in marks if isinstance(mark.instrument, CryptoPerpetual)]
    funded = [] if funding is None else perpetuals
    others = marks if funding is None else [mark for mark in marks if not isinstance(mark.instrument, CryptoPerpetual)]
    borrowed = [] if borrow is None else [mark for mark in others if _is_borrowed(mark.instrument)]
    for option, given, chosen, what in (
        ("--funding", funding, funded, "a perpetual"),
        ("--borrow", borrow, borrowed, "a pair, a share or the like without funding"),
    ):
        if given is not None and not chosen:
            got = ", ".join(f"{mark.instrument.id} of type {type(mark.instrument).__name__}" for mark in marks)
            raise BadSetting(f"expected {what} for {option}, got {got}; --instrument-definition says what it is")
    is_only = len(marks) == 1
    scheduled = {}
    for mark in funded:
        assert funding is not None
        scheduled[mark.instrument.id] = _funding_of(
            mark, load_funding(funding, mark.instrument_id, is_only, _read(mark))
        )
    for mark in borrowed:
        assert borrow is not None
        scheduled[mark.instrument.id] = _borrow_of(mark, load_borrow(borrow, mark.instrument_id, is_only, _read(mark)))
    return scheduled


def _is_borrowed(instrument: Instrument) -> bool:
    return isinstance(instrument, BORROWED) and not instrument.is_inverse


def _read(mark: Marks) -> ReadOptions:
    return ReadOptions(timezone=mark.read.timezone or "UTC", date_order=mark.read.date_order)


def _funding_of(mark: Marks, rates: Rates) -> Schedule:
    first_ns, last_ns = int(mark.ts_ns[0]), int(mark.ts_ns[-1])
    rows = np.flatnonzero((rates.ts_ns >= first_ns) & (rates.ts_ns <= last_ns)).tolist()
    missing = _missing(rates, first_ns, last_ns)
    is_beside = rates.ts_ns[0] - rates.interval_ns[0] > last_ns or rates.ts_ns[-1] + rates.interval_ns[-1] < first_ns
    if not rows and (missing or is_beside):
        raise BadData(
            f"{rates.source}: expected funding times between {utc_text(first_ns)} and {utc_text(last_ns)}, the period "
            f"of {mark.instrument_id}, got {len(rates):,} from {utc_text(rates.ts_ns[0])} to "
            f"{utc_text(rates.ts_ns[-1])}; give the rates of that period"
        )
    dues = [
        ScheduledCharge(ts_ns := int(rates.ts_ns[row]), "funding", rates.rates[row], mark.at(ts_ns)) for row in rows
    ]
    notes = [
        f"Funding is charged at the {len(dues):,} times of {rates.source} in the run's period, on the position held "
        "just before, at the last price known then; longs pay where the rate is positive."
    ]
    if missing:
        notes.insert(0, f"FUNDING IS MISSING at {missing:,} funding times of the run: {rates.source} has no rate.")
    return Schedule("funding", dues, (*notes, *rates.notes))


def _missing(rates: Rates, first_ns: int, last_ns: int) -> int:
    """Return how many funding times after one time, up to another, have no rate, as far as the interval says."""
    times, intervals_ns = rates.ts_ns.tolist(), rates.interval_ns.tolist()
    if not all(intervals_ns):
        return 0

    def steps(start_ns: int, step_ns: int, most: int) -> int:
        """Return how many of so many steps from a time on lie in the period."""
        low, high = (first_ns, last_ns) if step_ns > 0 else (-last_ns - 1, -first_ns - 1)
        start_ns, step_ns = (start_ns, step_ns) if step_ns > 0 else (-start_ns, -step_ns)
        return max(0, min(most, (high - start_ns) // step_ns) - max(0, (low - start_ns) // step_ns))

    inside = sum(
        steps(before_ns, step_ns, round((after_ns - before_ns) / step_ns) - 1)
        for before_ns, after_ns, step_ns in zip(times, times[1:], intervals_ns[1:], strict=False)
    )
    period_ns = last_ns - first_ns + abs(times[0] - first_ns) + abs(times[-1] - first_ns)
    before = steps(times[0], -intervals_ns[0], period_ns)
    return inside + before + steps(times[-1], intervals_ns[-1], period_ns)


def _borrow_of(mark: Marks, rates: Rates) -> Schedule:
    first_ns, last_ns = int(mark.ts_ns[0]), int(mark.ts_ns[-1])
    if rates.ts_ns[0] > first_ns:
        raise BadData(
            f"{rates.source}: expected an annual rate in force at {utc_text(first_ns)}, the start of "
            f"{mark.instrument_id}, got the first one at {utc_text(rates.ts_ns[0])}"
        )
    is_crypto = mark.instrument.asset_class == AssetClass.CRYPTOCURRENCY
    hours = 1 if is_crypto else 24
    step_ns, times = hours * HOUR_NS, rates.ts_ns.tolist()
    dues = []
    with localcontext(_EXACT):
        for ts_ns in range(-(-first_ns // step_ns) * step_ns, last_ns + 1, step_ns):
            annual = rates.rates[bisect_right(times, ts_ns) - 1]
            dues.append(ScheduledCharge(ts_ns, "borrow", annual * hours / YEAR_HOURS, mark.at(ts_ns)))
    when = "each full hour" if is_crypto else "midnight of each day"
    note = (
        f"Borrowing is charged on a short position held at {when} (UTC), at the last price known then: {hours}/"
        f"{YEAR_HOURS:,} of the annual rate of {rates.source}{f', {rates.rates[0]}' if times == [0] else ''}."
    )
    return Schedule("borrow", dues, (note, *rates.notes))


class VenueTime(NamedTuple):
    """The time that a simulated venue has come to."""

    ts_ns: int
    exchange: SimulatedExchange


class CarryModuleConfig(SimulationModuleConfig, frozen=True):
    """Configuration of `CarryModule`."""


class CarryModule(SimulationModule):
    """Publishes a venue's time before each of its data, so that what is due is taken from its account."""

    def __init__(self, config: CarryModuleConfig) -> None:
        super().__init__(config)

    def pre_process(self, data: Data) -> None:
        self.msgbus.publish(topic=_topic(self.exchange.id), msg=VenueTime(data.ts_init, self.exchange))

    def process(self, ts_now: int) -> None:
        pass

    def log_diagnostics(self, logger: Logger) -> None:
        pass

    def reset(self) -> None:
        pass


def _topic(venue: Venue) -> str:
    return f"carry.{venue}"


class Charged(Protocol):
    """A ledger that is charged."""

    charged: Decimal
    """All costs so far."""

    def accrue(self, ts_ns: int) -> None:
        """Book what is due up to a time."""


def charge_accounts(bus: MessageBus, ledgers: Mapping[InstrumentId, Charged], currency: str) -> None:
    """Take what ledgers are charged with from the engine's accounts, in the decimals of their currency.

    The account is adjusted by the rounded total less what was taken before: roundings do not add up.
    """
    for venue in {instrument_id.venue for instrument_id in ledgers}:
        own = [ledger for instrument_id, ledger in ledgers.items() if instrument_id.venue == venue]
        bus.subscribe(topic=_topic(venue), handler=_adjustment(own, currency))


def _adjustment(ledgers: Sequence[Charged], code: str) -> Callable[[VenueTime], None]:
    booked, taken = Decimal(0), Decimal(0)

    def adjust(now: VenueTime) -> None:
        nonlocal booked, taken
        for ledger in ledgers:
            ledger.accrue(now.ts_ns)
        total = sum((ledger.charged for ledger in ledgers), Decimal(0))
        if total == booked:
            return
        booked, currency = total, Currency.from_str(code)
        with localcontext(_EXACT):
            rounded = total.quantize(Decimal(1).scaleb(-currency.precision), ROUND_HALF_EVEN)
            change, taken = taken - rounded, rounded
        if change:
            now.exchange.adjust_account(Money.from_str(f"{change:f} {code}"))

    return adjust
