from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.bar_checks import Breaks, check_bars, examine
from market.bar_simulator import MINUTE_NS, simulate_bars
from market.bars import PRICES, Bars
from market.trades import EXACT_INTEGERS, BadData

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


def test_clean_bars_are_said_to_be_clean_in_one_sentence() -> None:
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
        (with_value(9, ts_event=GOOD.ts_event[8]), r"Duplicates in 1 of 50 bars, first in row 9 \(closed 2024-01-01"),
        (with_value(9, ts_event=GOOD.ts_event[7] + 1), "Non-monotonic in 1 of 50 bars, .* after 2024-01-01T00:09:00Z"),
        (with_value(3, high=GOOD.low[3] - 1), "High below low in 1 of 50 bars, first in row 3"),
        (with_value(3, open=GOOD.high[3] + 1), "Outside low and high in 1 of 50 bars, first in row 3"),
        (with_value(3, close=GOOD.low[3] - 1), "Outside low and high in 1 of 50 bars, first in row 3"),
        (with_value(7, low=0), "Non-positive price in 1 of 50 bars, first in row 7 .*low 0.00"),
        (with_value(7, low=-5), "Non-positive price in 1 of 50 bars, first in row 7 .*low -0.05"),
        (with_value(4, volume=-1), "Negative volume in 1 of 50 bars, first in row 4 .*was -0.001"),
        (replace(GOOD, volume=GOOD.volume * 0), "Zero volume throughout in 50 of 50 bars"),
        (with_value(8, high=4 * 10**8, close=4 * 10**8), "Jumps in 2 of 50 bars, first in row 8 .* 4000000.00 after"),
        (with_value(8, high=EXACT_INTEGERS), "Too large price in 1 of 50 bars, first in row 8"),
        (with_value(8, volume=EXACT_INTEGERS), "Too large volume in 1 of 50 bars, first in row 8"),
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


def test_four_times_the_price_is_no_jump_and_a_step_more_is_one() -> None:
    def at(price: int) -> Bars:
        prices = np.array([100] * 5 + [price] * 5)
        return replace(GOOD.between(0, 10), open=prices, high=prices, low=prices, close=prices)

    assert kinds(at(400)) == kinds(at(25)) == {}
    assert kinds(at(401)) == kinds(at(24)) == {"jumps": 1}


def test_breaks_are_counted_and_the_largest_has_its_place() -> None:
    bars = check_bars(without(10, 20, 21, 22, 40, 41))

    findings = examine(bars)

    assert findings.breaks == Breaks(3, 6, 3, "2024-01-01T00:20:00Z", "2024-01-01T00:23:00Z")
    assert findings.lines() == [
        "Breaks in 3 of 44 bars, first in row 10 (closed 2024-01-01T00:12:00Z): a bar every 60 s expected, was 6 "
        "missing in all; the largest break lacks 3, from 2024-01-01T00:20:00Z to 2024-01-01T00:23:00Z."
    ]


@given(st.sets(st.integers(1, 48)))
def test_breaks_miss_what_was_taken_out(rows: set[int]) -> None:
    breaks = examine(without(*rows)).breaks

    runs = "".join("x" if row in rows else " " for row in range(50)).split()
    assert breaks.missing_intervals == len(rows)
    assert breaks.count == len(runs)
    assert breaks.largest_intervals == max(map(len, runs), default=0)


def test_what_is_odd_only_is_said_and_let_through() -> None:
    bars = replace(with_value(5, volume=0), ts_event=GOOD.ts_event + 1_500_000_000)

    assert check_bars(bars) is bars
    assert kinds(bars) == {"off the grid": 50, "zero volume": 1}
    assert "was 1.5 s after it" in examine(bars).lines()[0]
    assert "2024-01-01T00:01:01.500Z" in examine(bars).lines()[0]


def test_weeks_begin_on_a_monday() -> None:
    week_ns = 7 * 1440 * MINUTE_NS
    monday = replace(GOOD, interval_ns=week_ns, ts_event=GOOD.ts_event[0] - MINUTE_NS + week_ns * np.arange(50))

    assert kinds(monday) == {}  # 2024-01-01 was one
    assert kinds(replace(monday, ts_event=monday.ts_event + 1440 * MINUTE_NS)) == {"off the grid": 50}


def test_newest_first_is_refused() -> None:
    backwards = replace(GOOD, **{name: getattr(GOOD, name)[::-1] for name in VALUES})

    with pytest.raises(BadData, match="Non-monotonic in 49 of 50 bars, first in row 1"):
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
    with pytest.raises(BadData, match="at least one bar expected, was an empty data set"):
        check_bars(GOOD.between(0, 0))
