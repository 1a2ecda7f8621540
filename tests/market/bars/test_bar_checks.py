from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.checks import Breaks, check_bars, examine
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, simulate_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS, BadData

GOOD = simulate_bars(50)
VALUES = ("ts_event", *PRICES, "volume")


def with_value(row: int, **values: int) -> Bars:
    changed = {name: getattr(GOOD, name).copy() for name in values}
    for name, value in values.items():
        changed[name][row] = value
    return replace(GOOD, **changed)


def without(*rows: int) -> Bars:
    return replace(GOOD, **{name: np.delete(getattr(GOOD, name), rows) for name in VALUES})


def kinds(bars: Bars) -> dict[str, int]:
    return {finding.kind: finding.count for finding in examine(bars).found}


def test_clean_bars_give_one_sentence() -> None:
    findings = examine(GOOD)

    assert findings.found == ()
    assert findings.breaks.count == 0
    assert findings.lines() == [
        "50 bars of 60 s from 2024-01-01T00:00:00Z to 2024-01-01T00:50:00Z: no breaks, no duplicates, nothing odd."
    ]
    assert check_bars(GOOD) is GOOD


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        (with_value(9, ts_event=GOOD.ts_event[8]), r"Duplicates in 1 of 50 bars, first in row 10 \(closed 2024-01-01"),
        (with_value(9, ts_event=GOOD.ts_event[7] + 1), "Non-monotonic in 1 of 50 bars, .* after 2024-01-01T00:09:00Z"),
        (with_value(3, high=GOOD.low[3] - 1), "High below low in 1 of 50 bars, first in row 4"),
        (with_value(3, open=GOOD.high[3] + 1), "Outside low and high in 1 of 50 bars, first in row 4"),
        (with_value(3, close=GOOD.low[3] - 1), "Outside low and high in 1 of 50 bars, first in row 4"),
        (with_value(7, low=0), "Non-positive price in 1 of 50 bars, first in row 8 .*low 0.00"),
        (with_value(7, low=-5), "Non-positive price in 1 of 50 bars, first in row 8 .*low -0.05"),
        (with_value(4, volume=-1), "Negative volume in 1 of 50 bars, first in row 5 .*got -0.001"),
        (replace(GOOD, volume=GOOD.volume * 0), "Zero volume throughout in 50 of 50 bars"),
        (
            with_value(8, high=4 * 10**8, close=4 * 10**8),
            "Jumps in 2 of 50 bars, first in row 9 .* close 4000000.00 after a close of",
        ),
        (with_value(8, high=EXACT_INTEGERS), "Too large price in 1 of 50 bars, first in row 9"),
        (with_value(8, volume=EXACT_INTEGERS), "Too large volume in 1 of 50 bars, first in row 9"),
    ],
)
def test_unusable_bars_are_refused_with_count_row_and_value(bars: Bars, message: str) -> None:
    with pytest.raises(BadData, match=message) as error:
        check_bars(bars)

    assert str(error.value).startswith(f"{GOOD.source}: ")


def test_every_kind_of_fault_is_named_at_once() -> None:
    bars = replace(with_value(3, high=1, low=2, open=2, close=2), volume=np.full(50, -7))

    with pytest.raises(BadData) as error:
        check_bars(bars)

    for kind in ("High below low in 1", "Negative volume in 50", "Jumps in 2"):
        assert kind in str(error.value)
    assert kinds(bars) == {"high below low": 1, "negative volume": 50, "jumps": 2}


def jump_bars(price: int, interval_ns: int = MINUTE_NS, gap: bool = False, closed_ns: int = 0) -> Bars:
    """Ten bars at 1000, then ten at ``price``, to which the first of them falls after its open, or (``gap``) before."""
    close = np.array([1000] * 10 + [price] * 10)
    open_ = close.copy()
    open_[10] = price if gap else 1000
    ts_event = GOOD.ts_event[0] + interval_ns * np.arange(20) + np.where(np.arange(20) >= 10, closed_ns, 0)
    return replace(
        GOOD.between(0, 20),
        interval_ns=interval_ns,
        ts_event=ts_event,
        open=open_,
        high=np.maximum(open_, close),
        low=np.minimum(open_, close),
        close=close,
    )


DAY_NS = 1440 * MINUTE_NS


@pytest.mark.parametrize(
    ("bars", "allowed", "refused"),
    [
        (jump_bars, 1400, 1401),
        (jump_bars, 715, 714),
        (partial(jump_bars, interval_ns=DAY_NS), 1822, 1823),
        (partial(jump_bars, interval_ns=DAY_NS), 549, 548),
        (partial(jump_bars, interval_ns=DAY_NS, gap=True), 715, 714),
        (partial(jump_bars, interval_ns=7 * DAY_NS), 4000, 4001),
        (partial(jump_bars, interval_ns=7 * DAY_NS, gap=True), 1400, 1401),
        (partial(jump_bars, interval_ns=DAY_NS, gap=True, closed_ns=4 * DAY_NS), 1400, 1401),
        (partial(jump_bars, interval_ns=DAY_NS, gap=True, closed_ns=5 * DAY_NS), 3825, 3826),
    ],
    ids=["minute up", "minute down", "day up", "day down", "night", "week", "weekend", "holidays", "suspended"],
)
def test_allowed_move_depends_on_the_elapsed_time(bars: Callable[[int], Bars], allowed: int, refused: int) -> None:
    assert "jumps" not in kinds(bars(allowed))
    assert kinds(bars(refused))["jumps"] == 1


@pytest.mark.parametrize(
    ("price", "split"),
    [(500, "2:1"), (333, "3:1"), (667, "3:2"), (251, "4:1"), (102, "10:1"), (2_050, "1:2"), (9_999, "1:10"), (60, "")],
)
def test_a_jump_is_named_and_let_through_on_request(price: int, split: str) -> None:
    bars = jump_bars(price, DAY_NS, gap=True)

    with pytest.raises(BadData, match="Adjust the prices, or pass --allow-jumps") as error:
        check_bars(bars)
    allowed = check_bars(replace(bars, read=ReadOptions(allow_jumps=True)))

    named = f"open {price / 100:.2f} after a close of 10.00 in row 11 (2024-01-11T00:01:00Z)"
    named += f" (probably an unadjusted {split} split)" if split else ""
    assert named in str(error.value)
    (sentence,) = [found.sentence for found in examine(allowed).found if found.kind == "jumps"]
    assert named in sentence
    assert "let through by --allow-jumps" in sentence


def test_prices_of_a_few_steps_do_not_jump() -> None:
    prices = np.array([1, 2, 1, 3] * 5)

    bars = replace(GOOD.between(0, 20), **dict.fromkeys(PRICES, prices))

    assert kinds(bars) == {}


def test_breaks_are_counted_and_the_largest_has_its_place() -> None:
    bars = check_bars(without(10, 20, 21, 22, 40, 41))

    findings = examine(bars)

    assert findings.breaks == Breaks(3, 6, 3, "2024-01-01T00:20:00Z", "2024-01-01T00:23:00Z")
    assert findings.lines() == [
        "Breaks in 3 of 44 bars, first in row 11 (closed 2024-01-01T00:12:00Z): expected a bar every 60 s, got 6 "
        "missing in all; the largest break lacks 3, from 2024-01-01T00:20:00Z to 2024-01-01T00:23:00Z."
    ]


@given(st.sets(st.integers(1, 48)))
def test_breaks_count_the_removed_bars(rows: set[int]) -> None:
    breaks = examine(without(*rows)).breaks

    runs = "".join("x" if row in rows else " " for row in range(50)).split()
    assert breaks.missing_intervals == len(rows)
    assert breaks.count == len(runs)
    assert breaks.largest_intervals == max(map(len, runs), default=0)


def test_findings_that_are_not_fatal_are_reported_and_accepted() -> None:
    bars = replace(with_value(5, volume=0), ts_event=GOOD.ts_event + 1_500_000_000)

    assert check_bars(bars) is bars
    assert kinds(bars) == {"off the grid": 50, "zero volume": 1}
    assert "got 1.5 s after it" in examine(bars).lines()[0]
    assert "2024-01-01T00:01:01.500Z" in examine(bars).lines()[0]


def test_weeks_begin_on_a_monday() -> None:
    week_ns = 7 * 1440 * MINUTE_NS
    monday = replace(GOOD, interval_ns=week_ns, ts_event=GOOD.ts_event[0] - MINUTE_NS + week_ns * np.arange(50))

    assert kinds(monday) == {}  # 2024-01-01 was one
    assert kinds(replace(monday, ts_event=monday.ts_event + 1440 * MINUTE_NS)) == {"off the grid": 50}


def test_newest_first_is_refused() -> None:
    backwards = replace(GOOD, **{name: getattr(GOOD, name)[::-1] for name in VALUES})

    with pytest.raises(BadData, match="Non-monotonic in 49 of 50 bars, first in row 2"):
        check_bars(backwards)


def test_fatal_findings_come_first() -> None:
    findings = examine(replace(without(4), volume=np.zeros(49, dtype=np.int64)))

    assert findings.breaks.count == 1
    assert [(found.kind, found.fatal) for found in findings.found] == [
        ("zero volume throughout", True),
        ("breaks", False),
    ]
    assert findings.lines() == [found.sentence for found in findings.found]


def test_no_bars_are_no_data() -> None:
    with pytest.raises(BadData, match="expected at least one bar, got an empty data set"):
        check_bars(GOOD.between(0, 0))
