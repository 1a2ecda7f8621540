"""State of a day that is kept from one run to the next: its P&L and whether trading was halted."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from nautilus_torchserve.trading.checks import BadSetting
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


def halt_day(day: TradingDay, reason: str) -> TradingDay:
    """Return the day from its halt on; of two reasons the first counts."""
    return day if day.halted else replace(day, halted=reason)
