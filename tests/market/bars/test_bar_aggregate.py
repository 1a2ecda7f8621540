from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.checks import check_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, simulate_bars
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS, BadData

GOOD = simulate_bars(240)
DAY_NS = 1440 * MINUTE_NS
VALUES = ("ts_event", *PRICES, "volume")


def only(rows: list[int], bars: Bars = GOOD) -> Bars:
    return replace(bars, **{name: getattr(bars, name)[rows] for name in VALUES})


def resampled(bars: Bars, minutes: int) -> pd.DataFrame:
    """The same by pandas; groups that lack a bar dropped."""
    frame = pd.DataFrame({name: getattr(bars, name) for name in VALUES}).set_index("ts_event")
    frame.index = pd.to_datetime(frame.index)
    groups = frame.resample(f"{minutes}min", closed="right", label="right", origin="epoch")
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return groups.agg(how)[groups["close"].count() == minutes]


SOME_ROWS = st.sets(st.integers(0, 239), max_size=12).map(lambda gone: [row for row in range(240) if row not in gone])


@given(SOME_ROWS, st.sampled_from([2, 5, 15, 60]))
def test_pandas_makes_the_same_bars(rows: list[int], minutes: int) -> None:
    bars = only(rows)
    expected = resampled(bars, minutes)
    if expected.empty:
        with pytest.raises(BadData, match="at least one group"):
            aggregate(bars, minutes * MINUTE_NS)
        return

    longer = check_bars(aggregate(bars, minutes * MINUTE_NS))

    assert longer.interval_ns == minutes * MINUTE_NS
    assert longer.ts_event.tolist() == expected.index.astype("int64").tolist()
    for name in (*PRICES, "volume"):
        assert getattr(longer, name).dtype == np.int64
        assert getattr(longer, name).tolist() == expected[name].astype("int64").tolist()


@given(SOME_ROWS)
def test_in_two_steps_is_as_in_one(rows: list[int]) -> None:
    bars = only(rows)

    assert aggregate(aggregate(bars, 5 * MINUTE_NS), 15 * MINUTE_NS).sha256 == aggregate(bars, 15 * MINUTE_NS).sha256


def test_groups_that_lack_a_bar_fall_away() -> None:
    longer = aggregate(only([*range(3, 17), *range(18, 30)]), 5 * MINUTE_NS)

    minutes = (longer.ts_event - (GOOD.ts_event[0] - MINUTE_NS)) // MINUTE_NS
    assert minutes.tolist() == [10, 15, 25, 30]  # 5 began too late, 20 lacks its third


def test_the_same_interval_is_the_same_bars() -> None:
    assert aggregate(GOOD, MINUTE_NS) is GOOD


@pytest.mark.parametrize("interval_ns", [MINUTE_NS // 2, MINUTE_NS + 1, 90 * 10**9, 0, -MINUTE_NS])
def test_interval_that_is_no_multiple_is_refused(interval_ns: int) -> None:
    with pytest.raises(BadData, match="a multiple of the bars' 60 s, got "):
        aggregate(GOOD, interval_ns)


def test_without_a_complete_group_there_is_nothing() -> None:
    with pytest.raises(BadData, match=r"at least one group of 1440 bars of 60 s .* got none in 240 bars"):
        aggregate(GOOD, DAY_NS)
    with pytest.raises(BadData, match="at least one group of 5 bars"):
        aggregate(replace(GOOD, ts_event=GOOD.ts_event + 10**9), 5 * MINUTE_NS)


def test_a_week_begins_on_a_monday() -> None:
    days = replace(GOOD, interval_ns=DAY_NS, ts_event=GOOD.ts_event[0] - MINUTE_NS + DAY_NS * np.arange(1, 241))

    weeks = aggregate(days.between(2, 240), 7 * DAY_NS)

    assert pd.to_datetime(weeks.ts_event[:2]).strftime("%a %Y-%m-%d").tolist() == ["Mon 2024-01-15", "Mon 2024-01-22"]


def test_a_volume_that_is_no_longer_exact_is_refused() -> None:
    huge = replace(GOOD, volume=np.full(240, EXACT_INTEGERS - 1))

    with pytest.raises(BadData, match=r"row 1 .*: expected a volume below 2\*\*53 smallest steps, got \d+ over 2 bars"):
        aggregate(huge, 2 * MINUTE_NS)
