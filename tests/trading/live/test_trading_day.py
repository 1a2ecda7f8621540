"""A halt holds for the UTC day, unless the user resumes trading."""

from decimal import Decimal
from pathlib import Path

import pytest

from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.live.risk.guard import (
    TradingDay,
    TradingHalted,
    begin_day,
    save_day,
    utc_day,
)

TODAY, TOMORROW = "2026-11-22", "2026-11-23"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "day.json"


def test_pnl_of_the_day_is_carried_on(path: Path) -> None:
    save_day(path, TradingDay(TODAY, Decimal("-12.5")))

    assert begin_day(path, TODAY, resume=False) == TradingDay(TODAY, Decimal("-12.5"))
    assert begin_day(path, TOMORROW, resume=False) == TradingDay(TOMORROW)


def test_halted_day_is_refused_until_resumed(path: Path) -> None:
    save_day(path, TradingDay(TODAY, Decimal(-500), halted="daily loss"))

    with pytest.raises(TradingHalted, match="trading was halted today: daily loss"):
        begin_day(path, TODAY, resume=False)

    assert begin_day(path, TODAY, resume=True) == TradingDay(TODAY)
    assert begin_day(path, TOMORROW, resume=False) == TradingDay(TOMORROW)


def test_file_that_cannot_be_read_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")

    with pytest.raises(BadSetting, match="expected the state of a trading day"):
        begin_day(path, TODAY, resume=True)


def test_without_a_file_nothing_is_remembered() -> None:
    save_day(None, TradingDay(TODAY, halted="x"))

    assert begin_day(None, TODAY, resume=False) == TradingDay(TODAY)


@pytest.mark.parametrize(("ts_ns", "day"), [(0, "1970-01-01"), (86_400 * 10**9 - 1, "1970-01-01"),
                                            (86_400 * 10**9, "1970-01-02")])  # fmt: skip
def test_days_end_at_midnight_utc(ts_ns: int, day: str) -> None:
    assert utc_day(ts_ns) == day
