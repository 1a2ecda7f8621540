"""From arrays to NautilusTrader and back: nothing rounded, nothing reordered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nautilus_torchserve.market.trades.catalog import load_catalog
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.trading.instruments.instruments import perpetual, trade_ticks, write_catalog

ARRAYS = ("ts_event", "ts_init", "price", "size", "side", "trade_id")


def test_a_catalog_keeps_every_step_and_the_order_of_equal_times(market: Trades, tmp_path: Path) -> None:
    second = market.ts_event // 10**9 * 10**9  # many trades to a timestamp
    price = market.price * 1_000_003 % 10**14 + 1
    trades = replace(market, ts_event=second, ts_init=second, price=price)
    assert (np.diff(second) == 0).mean() > 0.5

    write_catalog(trades, perpetual(trades.instrument, fee_bps=0.5), tmp_path)
    back = load_catalog(tmp_path)

    assert back.instrument == trades.instrument
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(trades, name), err_msg=name)


def test_values_beyond_nautilus_traders_range_are_refused(market: Trades) -> None:
    for name, largest in (("price", 17_014_118_346_047), ("size", 34_028_236_692_094)):
        precision = getattr(market.instrument, f"{name}_precision")
        values = getattr(market, name)[:2].copy()
        values[1] = largest * 10**precision

        with pytest.raises(BadData, match=rf"expected {name} below \d.*e\+13 .*, got {largest}\.0"):
            trade_ticks(replace(market.between(0, 2), **{name: values}))


def test_the_fee_is_in_bps_of_the_notional(market: Trades) -> None:
    assert float(perpetual(market.instrument, fee_bps=0.5).taker_fee) == 0.5e-4


@pytest.mark.parametrize(
    "ids",
    [["a" * 36, "b c"], ["0x" + "ab" * 32, "0x" + "ac" * 32], ["börse.csv:1", "börse.csv:2"], ["币安", " "]],
    ids=["short", "longer than 36", "not ASCII", "blank"],
)
def test_trade_ids_of_any_make_stay_apart_in_the_engine(ids: list[str], market: Trades) -> None:
    ticks = trade_ticks(replace(market.between(0, 2), trade_id=np.array(ids)))

    of_engine = [tick.trade_id.value for tick in ticks]
    assert len(set(of_engine)) == 2
    assert [value for value in of_engine if value in ids] == [text for text in ids if text in ("a" * 36, "b c")]
