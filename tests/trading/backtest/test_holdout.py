"""Out-of-sample data: those of the fit are recognised by their prices, whatever their name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bar_support import MINUTE, market, without
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.price_sketch import SIZE, compare, decode, fit_record
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades
from nautilus_torchserve.serving.model_metadata import FitRecord
from nautilus_torchserve.trading.backtest.holdout import Sample, choose_sample

BARS = market("ACME", 3_000)
FITTED = fit_record(BARS, int(BARS.ts_event[0]), int(BARS.ts_event[1_763]))


def renamed(data: Any, symbol: str, venue: str) -> Any:
    return replace(data, instrument=replace(data.instrument, symbol=symbol, venue=venue))


def finer(bars: Bars, decimals: int) -> Bars:
    """The same prices with more decimals."""
    instrument = replace(bars.instrument, price_precision=bars.instrument.price_precision + decimals)
    return replace(bars, instrument=instrument, **{name: getattr(bars, name) * 10**decimals for name in PRICES})


def other_prices(bars: Bars, steps: int) -> Bars:
    """A market that moves exactly alike at other prices."""
    return replace(bars, **{name: getattr(bars, name) + steps for name in PRICES})


def constant(bars: Bars) -> Bars:
    return replace(bars, **{name: np.full(len(bars), 10_000) for name in PRICES})


def records(*kept: dict[str, Any]) -> list[FitRecord]:
    return [FitRecord(**record) for record in kept]


def chosen(data: Any, record: dict[str, Any] = FITTED, *, in_sample: bool = False, beside: Any = ()) -> Sample:
    return choose_sample(data, records(record), in_sample, "bars", beside)


@given(
    start=st.integers(0, 1_756),
    length=st.integers(8, 3_000),
    name=st.sampled_from([("ACME", "NASDAQ"), ("acme", "SIM"), ("ACME-PERP", "SIM"), ("ACME", "SIM")]),
    decimals=st.integers(0, 6),
)
def test_the_fits_data_are_recognised_under_any_name_precision_and_excerpt(
    start: int, length: int, name: tuple[str, str], decimals: int
) -> None:
    data = finer(renamed(BARS.between(start, min(start + length, 3_000)), *name), decimals)
    seen = min(1_764 - start, len(data))

    if seen == len(data):
        with pytest.raises(BadData, match=r"expected bars after .*--in-sample"):
            chosen(data)
    else:
        sample = chosen(data)
        assert (sample.first, sample.in_sample) == (seen, False)
        assert f"Only the last {len(data) - seen:,} of {len(data):,} bars" in sample.note
    assert chosen(data, in_sample=True).in_sample is True


@given(
    steps=st.integers(-200, 200).filter(bool), start=st.integers(0, 1_700), gap=st.integers(1, 500), seed=st.booleans()
)
def test_other_prices_at_the_same_times_are_another_instrument(steps: int, start: int, gap: int, seed: bool) -> None:
    other = market("ETH", 3_000, seed=2) if seed else other_prices(renamed(BARS, "ETH", "SIM"), steps)
    data = without(other, start, start + gap)

    sample = chosen(data)

    assert (sample.first, sample.in_sample) == (0, False)
    assert "fitted on ACME.SIM, another instrument" in sample.note
    assert "prices at common times are equal" in sample.note


def test_a_name_alone_means_the_same_instrument_and_a_beside_one_is_judged_after_the_fit() -> None:
    later = BARS.between(2_000, 3_000)
    other = market("ETH", 3_000, seed=2)

    assert chosen(renamed(other, "ACME", "SIM")).first == 1_764
    assert chosen(other, beside=[renamed(BARS, "acme", "NASDAQ")]).first == 1_764
    assert chosen(later) == Sample(0, False, chosen(later).note)
    assert "the fit saw none after" in chosen(later).note
    assert chosen(renamed(later, "X", "Y")).in_sample is False


def test_bars_of_other_lengths_are_recognised_by_the_closes_that_they_share() -> None:
    fives = renamed(aggregate(BARS, 5 * MINUTE), "FIVE", "NASDAQ")
    record = fit_record(fives, int(fives.ts_event[0]), int(fives.ts_event[300]))

    assert chosen(fives).first == int(np.searchsorted(fives.ts_event, FITTED["last_ts_event"], side="right"))
    assert chosen(BARS, record).first == int(np.searchsorted(BARS.ts_event, fives.ts_event[300], side="right"))


def test_data_that_cannot_be_compared_are_unknown() -> None:
    still, few = renamed(constant(BARS), "USDC", "SIM"), renamed(BARS.between(1_761, 3_000), "ACME", "NASDAQ")
    record = fit_record(constant(BARS), FITTED["first_ts_event"], FITTED["last_ts_event"])

    for sample in (chosen(still, record), chosen(few)):
        assert (sample.first, sample.in_sample) == (0, "unknown")
        assert sample.note.startswith("NOT KNOWN WHETHER IN SAMPLE")
    assert "1,764 of 1,764 prices at common times are equal, but they hardly move" in chosen(still, record).note
    assert "3 of 3 sampled times are common" in chosen(few).note


def test_an_archive_without_prices_goes_by_the_hash_of_all_data_and_by_names() -> None:
    training = {name: FITTED[name] for name in ("source", "sha256", "instrument_id", "last_ts_event")}

    assert chosen(renamed(BARS, "ACME", "NASDAQ"), training).first == 1_764
    assert chosen(BARS.between(10, 3_000), training).first == 1_754
    sample = chosen(renamed(BARS.between(10, 3_000), "ACME", "NASDAQ"), training)
    assert (sample.first, sample.in_sample) == (0, "unknown")
    assert "its archive, of an earlier release, keeps none of the prices" in sample.note


def test_of_several_fits_the_latest_decides_and_a_doubt_about_one_is_kept() -> None:
    later = fit_record(BARS, FITTED["first_ts_event"], int(BARS.ts_event[2_500]))
    doubtful = {name: FITTED[name] for name in ("sha256", "last_ts_event")} | {"sha256": "0", "instrument_id": "X.Y"}
    data = renamed(BARS, "ACME", "NASDAQ")

    assert choose_sample(data, records(FITTED, later), False, "bars").first == 2_501
    sample = choose_sample(data, records(FITTED, doubtful), False, "bars")
    assert (sample.first, sample.in_sample) == (1_764, "unknown")
    assert "Only the last 1,236" in sample.note
    assert "NOT KNOWN" in sample.note


def many_trades(count: int, seed: int) -> Trades:
    """Several a millisecond, at times to the nanosecond."""
    random = np.random.default_rng(seed)
    ts_event = np.cumsum(random.integers(0, 2_000_000, count)) + 1_700_000_000 * 10**9
    price = 100_000 + np.cumsum(random.integers(-3, 4, count))
    return Trades(
        Instrument("BTCUSDT", "BINANCE", 2, 3),
        "made",
        True,
        ts_event,
        ts_event,
        price,
        np.ones(count, np.int64),
        np.ones(count, np.int8),
        np.arange(count).astype(str),
    )


def test_a_sample_of_many_trades_recognises_excerpts_and_times_cut_to_milliseconds() -> None:
    trades = many_trades(50_000, 1)
    record = fit_record(trades, int(trades.ts_event[0]), int(trades.ts_event[39_999]))
    excerpt = renamed(trades.between(20_000, 50_000), "BTCUSDT-PERP", "BINANCE")
    cut = excerpt.ts_event // 10**6 * 10**6
    other = renamed(many_trades(50_000, 2), "ETHUSDT", "BINANCE")

    assert len(decode(record["prices"])) == SIZE
    assert compare(replace(excerpt, ts_event=cut), record).same is True
    assert choose_sample(excerpt, records(record), False, "trades").first == 20_000
    assert choose_sample(other, records(record), False, "trades").in_sample is False


def test_trades_that_share_the_last_time_are_left_out(small_market: Trades) -> None:
    ts = small_market.ts_event.copy()
    ts[60] = ts[59]
    trades = replace(small_market, ts_event=ts)

    assert choose_sample(trades, records(fit_record(trades, int(ts[0]), int(ts[59]))), False, "trades").first == 61


def test_a_sketch_that_is_none_is_refused() -> None:
    with pytest.raises(BadData, match="expected a sketch of the prices that a fit saw, got 'no base64"):
        compare(BARS, {**FITTED, "prices": "no base64 at all"})
