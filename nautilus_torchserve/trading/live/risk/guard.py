"""Watches the day's loss and the kill switch, and has strategies close everything when one of them strikes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.isolate_errors import log_errors
from nautilus_torchserve.trading.live.settings import RiskSettings
from nautilus_torchserve.user_error import UserError


class TradingHalted(UserError):
    """Trading was halted earlier in the day and has not been resumed."""

    exit_code = 3


@dataclass(frozen=True)
class TradingDay:
    """One UTC day, as runs that came before leave it to the next."""

    day: str
    """``2026-11-22``, UTC."""
    pnl: Decimal = Decimal(0)
    """Profit and loss so far, realised and not, fees included (account currency)."""
    halted: str = ""
    """Why trading was halted; empty where it was not."""


def utc_day(ts_ns: int) -> str:
    """Return the UTC day of a time, Unix ns."""
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).date().isoformat()


def begin_day(path: Path | None, today: str, resume: bool) -> TradingDay:
    """Return the state of the day before this run.

    Parameters
    ----------
    path : Path, optional
        Where it is kept; None: nowhere.
    today : str
        `utc_day` of now.
    resume : bool
        Go on after a halt, and count losses from 0 again.

    Raises
    ------
    TradingHalted
        Trading was halted today, and ``resume`` is not set.
    BadSetting
        The file cannot be read: trading may have been halted.
    """
    if path is None or not path.exists():
        return TradingDay(today)
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=TradingDay)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadSetting(f"{path}: expected the state of a trading day, got {error}") from None
    if saved.day != today:
        return TradingDay(today)
    if not saved.halted:
        return saved
    if not resume:
        raise TradingHalted(f"{path}: trading was halted today: {saved.halted}; --resume goes on")
    return TradingDay(today)


def save_day(path: Path | None, day: TradingDay) -> None:
    """Write the day's state, whole or not at all."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new_path = path.with_name(f"{path.name}.new")
    new_path.write_bytes(msgspec.json.encode(day))
    new_path.replace(path)


KEEP_EVERY_NS = 5_000_000_000
"""Time between two writings of an unhalted day (nanoseconds)."""
_TIMER = "risk-guard"


class RiskGuard(Actor):
    """Publishes a `Halt` when the day's loss reaches its limit, or when `halt` is called.

    The day's P&L is that of NautilusTrader's portfolio for the instruments, realised and not, with fees, less what
    it was at the day's beginning or the run's, plus what earlier runs of the day left. Payments for funding and what
    is moved into or out of the account are no part of it. An open position that nothing prices yet counts as last
    known.

    What cannot be watched is not traded: an error in here halts, too.

    It also subscribes to the instruments' quotes, by which positions are valued and paper orders filled.

    Parameters
    ----------
    instrument_ids : sequence of InstrumentId
        What is traded, all of it settled in one currency.
    settings : RiskSettings
        The limits, and the files that are watched and kept.
    day : TradingDay
        State that earlier runs of the day left.
    on_halt : callable
        Called with the reason, once.
    """

    def __init__(
        self,
        instrument_ids: Sequence[InstrumentId],
        settings: RiskSettings,
        day: TradingDay,
        on_halt: Callable[[str], None],
    ) -> None:
        super().__init__(ActorConfig())
        self.halted = ""
        """Why trading was halted in this run; empty while it was not."""
        self.handler_errors = 0
        """Exceptions in handlers; every one of them halts."""
        self._instrument_ids = instrument_ids
        self._settings = settings
        self._day = day
        self._on_halt = on_halt
        self._carried = day.pnl
        self._at_beginning: Decimal | None = None
        self._kill_file = None if settings.kill_file is None else Path(settings.kill_file)
        self._state_file = None if settings.state_file is None else Path(settings.state_file)
        self._kept_ns = 0

    @property
    def pnl(self) -> Decimal:
        """P&L of the UTC day at the last check (account currency)."""
        return self._day.pnl

    def on_start(self) -> None:
        self._check_one_currency()
        for instrument_id in self._instrument_ids:
            self.subscribe_quote_ticks(instrument_id)
        save_day(self._state_file, self._day)  # a place that cannot be written to is an error before any trading
        interval = timedelta(milliseconds=self._settings.check_every_ms)
        self.clock.set_timer(_TIMER, interval=interval, callback=self._on_timer)

    def on_stop(self) -> None:
        self.clock.cancel_timer(_TIMER)
        with log_errors(self, "stopping"):
            self.look()
            save_day(self._state_file, self._day)

    def halt(self, reason: str) -> None:
        """Have everything closed, and remember it for the day. Of several reasons the first counts."""
        if self.halted:
            return
        self.halted = reason
        self._day = replace(self._day, halted=reason)
        self.log.error(f"Trading is halted: {reason}")
        self.msgbus.publish(topic=HALT_TOPIC, msg=Halt(reason=reason, ts_ns=self.clock.timestamp_ns()))
        self._on_halt(reason)
        with log_errors(self, "keeping the day"):
            save_day(self._state_file, self._day)

    def look(self) -> None:
        """Bring the day's P&L up to now, and begin the next day when it is over."""
        total = self._total()
        if total is None:
            return
        if self._at_beginning is None:
            self._at_beginning = total  # a position of before the run has its P&L from before the run
        today = utc_day(self.clock.timestamp_ns())
        if today != self._day.day:
            self.log.info(f"{self._day.day} ended with a P&L of {self._day.pnl}")
            self._day, self._carried, self._at_beginning = TradingDay(today), Decimal(0), total
        self._day = replace(self._day, pnl=self._carried + total - self._at_beginning)

    def _on_timer(self, event: TimeEvent) -> None:
        with log_errors(self, "watching"):
            self._watch()
        if self.handler_errors:
            self.halt("the risk guard failed, see the log")

    def _watch(self) -> None:
        if self._kill_file is not None and self._kill_file.exists():
            self.halt(f"kill file {self._kill_file}")
        self.look()
        most = self._settings.max_daily_loss
        if most is not None and self._day.pnl <= -most:
            self.halt(f"daily loss of {-self._day.pnl:.2f}, below {most} expected")
        now_ns = self.clock.timestamp_ns()
        if now_ns - self._kept_ns >= KEEP_EVERY_NS:
            self._kept_ns = now_ns
            save_day(self._state_file, self._day)

    def _check_one_currency(self) -> None:
        currencies = set()
        for instrument_id in self._instrument_ids:
            instrument = self.cache.instrument(instrument_id)
            if instrument is None:
                raise RuntimeError(f"expected {instrument_id} in the cache, got none")
            currencies.add(getattr(instrument, "settlement_currency", instrument.quote_currency).code)
        if len(currencies) > 1:
            raise RuntimeError(f"expected instruments settled in one currency, got {', '.join(sorted(currencies))}")

    def _total(self) -> Decimal | None:
        """Return the P&L of all positions since the node's start; None where an open one cannot be valued."""
        total = Decimal(0)
        for instrument_id in self._instrument_ids:
            realised = self.portfolio.realized_pnl(instrument_id)
            unrealised = self.portfolio.unrealized_pnl(instrument_id)
            if unrealised is None and self.cache.positions_open_count(instrument_id=instrument_id):
                return None
            total += sum(pnl.as_decimal() for pnl in (realised, unrealised) if pnl is not None)
        return total
