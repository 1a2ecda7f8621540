"""What a model may be judged on."""

from dataclasses import replace
from typing import Any

import pytest

from market.trades import BadData, Trades
from strategies.sample import judged


def fitted_until(trades: Trades, position: int, **changes: Any) -> dict[str, Any]:
    facts = {"sha256": trades.sha256, "instrument_id": trades.instrument.instrument_id}
    return {**facts, "last_ts_event": int(trades.ts_event[position]), **changes}


def test_the_fits_own_data_count_only_after_its_end(small_market: Trades) -> None:
    chosen, note = judged(small_market, fitted_until(small_market, 59), in_sample=False)

    assert len(chosen) == 40
    assert chosen.ts_event[0] == small_market.ts_event[60]
    assert "Only the last 40 of 100 trades" in note
    assert "the same data" in note


def test_trades_that_share_the_last_time_are_left_out(small_market: Trades) -> None:
    ts = small_market.ts_event.copy()
    ts[60] = ts[59]
    trades = replace(small_market, ts_event=ts)

    assert len(judged(trades, fitted_until(trades, 59), in_sample=False)[0]) == 39


def test_another_period_of_the_same_instrument_counts_after_the_fits_end(small_market: Trades) -> None:
    later = small_market.between(50, 100)

    chosen, note = judged(later, fitted_until(small_market, 59), in_sample=False)

    assert len(chosen) == 40
    assert "the same instrument" in note


def test_all_counts_that_is_later_or_of_another_instrument(small_market: Trades) -> None:
    later = small_market.between(50, 100)
    elsewhere = fitted_until(small_market, 99, sha256="other", instrument_id="ETHUSDT.BINANCE")

    assert judged(later, fitted_until(small_market, 30), in_sample=False)[0] is later
    assert judged(later, elsewhere, in_sample=False)[0] is later


def test_nothing_left_is_an_error_that_names_the_way_out(small_market: Trades) -> None:
    with pytest.raises(BadData, match=r"trades after 2023-11-14 .* was none.*--in-sample"):
        judged(small_market, fitted_until(small_market, 99), in_sample=False)


def test_in_sample_takes_all_and_says_so_loudly(small_market: Trades) -> None:
    chosen, note = judged(small_market, fitted_until(small_market, 99), in_sample=True)

    assert chosen is small_market
    assert note.startswith("IN SAMPLE")
