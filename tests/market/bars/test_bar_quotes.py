"""Quotes around bars: what an order after a close meets, to the step."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.quotes import bar_quotes
from nautilus_torchserve.market.trades.trades import BadData, Instrument

MINUTE = 60 * 10**9


def make_bars(opens: list[int], closes: list[int], minutes: list[int]) -> Bars:
    """Bars that close at these minutes."""
    open_, close = np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64)
    return Bars(
        instrument=Instrument("BTC-PERP", "TEST", 1, 3),
        source="made",
        simulated=True,
        interval_ns=MINUTE,
        ts_event=np.array(minutes, dtype=np.int64) * MINUTE,
        open=open_,
        high=np.maximum(open_, close),
        low=np.minimum(open_, close),
        close=close,
        volume=np.full(len(close), 1000),
    )


def quoted_one_by_one(bars: Bars, spread_bps: str) -> list[tuple[int, int, int]]:
    """The rule in plain words, a bar at a time and in fractions."""
    half = Fraction(spread_bps) / 20_000
    quotes = []
    for i in range(len(bars)):
        closed = int(bars.ts_event[i])
        follows = i + 1 < len(bars) and bars.ts_event[i + 1] - closed <= MINUTE
        quotes.append((closed, int(bars.open[i + 1] if follows else bars.close[i])))
        if i + 1 < len(bars) and not follows:
            opens = int(bars.ts_event[i + 1]) - MINUTE
            if opens > closed + MINUTE:
                quotes.append((closed + MINUTE, int(bars.close[i])))
            quotes.append((opens, int(bars.open[i + 1])))
    return [(ts, math.floor(price - price * half), math.ceil(price + price * half)) for ts, price in quotes]


PRICES = st.integers(min_value=10_000, max_value=2**53 - 1)


@given(
    bars=st.lists(st.tuples(PRICES, PRICES, st.sampled_from([1, 1, 1, 2, 3, 500])), min_size=1, max_size=30),
    spread_bps=st.integers(min_value=0, max_value=99_999_999).map(lambda steps: f"{steps / 10_000:.4f}"),
)
def test_quotes_are_those_of_the_rule_for_each_bar(bars: list[tuple[int, int, int]], spread_bps: str) -> None:
    opens, closes, steps = (list(column) for column in zip(*bars, strict=True))
    made = make_bars(opens, closes, np.cumsum(steps).tolist())

    quotes = bar_quotes(made, float(spread_bps))

    quoted = list(zip(quotes.ts_event.tolist(), quotes.bid.tolist(), quotes.ask.tolist(), strict=True))
    assert quoted == quoted_one_by_one(made, spread_bps)


def test_bid_and_ask_are_rounded_away_from_the_price() -> None:
    bars = make_bars([100_001], [100_001], [1])

    quotes = bar_quotes(bars, 1.0)  # half of it is 5.00005 steps

    assert (quotes.bid[0], quotes.ask[0]) == (100_001 - 6, 100_001 + 6)


def test_without_a_spread_both_sides_are_the_price() -> None:
    quotes = bar_quotes(make_bars([1, 3], [2, 4], [1, 2]), 0.0)

    assert quotes.bid.tolist() == quotes.ask.tolist() == [3, 4]


def test_times_never_go_back_where_bars_overlap() -> None:
    bars = make_bars([10, 20, 30], [11, 21, 31], [10, 11, 12])
    bars.ts_event[1] -= MINUTE // 2

    assert (np.diff(bar_quotes(bars, 1.0).ts_event) >= 0).all()


@pytest.mark.parametrize("spread_bps", [-1.0, 10_000.0, 0.00001, math.nan, math.inf])
def test_invalid_spread_is_refused(spread_bps: float) -> None:
    with pytest.raises(ValueError, match=r"expected spread_bps in \[0, 10000\) in steps of 0.0001, got"):
        bar_quotes(make_bars([10], [10], [1]), spread_bps)


def test_a_spread_that_leaves_no_bid_is_refused() -> None:
    with pytest.raises(BadData, match="made: expected a bid above 0, got 0 steps"):
        bar_quotes(make_bars([1], [1], [1]), 1.0)
