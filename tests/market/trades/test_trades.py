from dataclasses import replace

import numpy as np
import pytest

from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS, BadData, Trades, check

GOOD = simulate(50)


def with_value(name: str, row: int, value: object) -> Trades:
    values = getattr(GOOD, name).copy()
    values[row] = value
    return replace(GOOD, **{name: values})


@pytest.mark.parametrize(
    ("trades", "message"),
    [
        (with_value("price", 7, 0), "row 8 .*: expected a positive price .*, got 0"),
        (with_value("price", 7, -5), "row 8 .*: expected a positive price .*, got -0.05"),
        (with_value("price", 7, EXACT_INTEGERS), "row 8 .*: expected a price below"),
        (with_value("size", 3, 0), "row 4 .*: expected a positive size, got 0"),
        (with_value("ts_event", 9, 1), "row 10 .*: expected ts_event sorted in time"),
        (with_value("ts_init", 9, 1), "row 10 .*: expected ts_init sorted in time"),
        (replace(GOOD, ts_event=GOOD.ts_event + 1), "row 1 .*: expected a time of receipt"),
        (with_value("side", 4, 2), r"row 5 .*: expected side \+1, -1 or 0, got 2"),
        (with_value("trade_id", 8, "3"), "row 9 .*: expected every trade id once .*, got '3'"),
        (GOOD.between(0, 0), "expected at least one trade"),
    ],
)
def test_unusable_trades_are_refused_with_their_row(trades: Trades, message: str) -> None:
    with pytest.raises(BadData, match=message) as error:
        check(trades)

    assert str(error.value).startswith(GOOD.source)


def test_further_bad_rows_are_counted() -> None:
    with pytest.raises(BadData, match=r"row 1 .*: expected a positive size, got 0.000 \(and 49 more rows\)"):
        check(replace(GOOD, size=np.zeros(50, dtype=np.int64)))


def test_several_trades_may_share_a_time() -> None:
    same = np.full(50, GOOD.ts_event[0])

    assert len(check(replace(GOOD, ts_event=same, ts_init=same))) == 50


def test_the_hash_is_that_of_the_values() -> None:
    assert replace(GOOD, source="elsewhere").sha256 == GOOD.sha256
    assert with_value("size", 0, GOOD.size[0] + 1).sha256 != GOOD.sha256
    assert GOOD.between(0, 50).sha256 == GOOD.sha256
    assert GOOD.between(1, 50).sha256 != GOOD.sha256
