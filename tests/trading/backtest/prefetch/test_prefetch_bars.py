"""Prefetched runs on bars equal inline runs, refused windows included."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bar_support import market, reverse_split, silent, without

from nautilus_torchserve.latency.profile import LatencyProfile, save_profile
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.simulated_time import are_alerts_in_order
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from support import REAL_DATA

MS, SECOND = 10**6, 10**9
REAL_BARS = REAL_DATA / "btc_perp_1m_2022-01.csv.gz"


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile some of whose requests take longer than a minute, so that those after them overtake or wait."""
    service_ns = np.random.default_rng(4).choice([20 * MS, 900 * MS, 70 * SECOND], 40)
    path = tmp_path_factory.mktemp("profile") / "slow.json"
    save_profile(LatencyProfile(service_ns, workers=2), path)
    return path


def both(bars: Sequence[Bars], settings: BarBacktestSettings) -> BacktestResult:
    """The inline run, after the prefetched one was found to be the same."""
    inline = run_backtest(bars, settings)
    beforehand = run_backtest(bars, replace(settings, mode="prefetch"))
    for left, right in zip(beforehand.instruments, inline.instruments, strict=True):
        for name in ("fills", "equity"):
            pd.testing.assert_frame_equal(getattr(left, name), getattr(right, name), check_exact=True)
        pd.testing.assert_frame_equal(
            left.predictions.drop(columns="latency_ns"), right.predictions.drop(columns="latency_ns"), check_exact=True
        )
        for name in ("orders", "positions", "failed", "refused", "without_volume", "not_arrived"):
            assert getattr(left, name) == getattr(right, name), name
        assert repr(left.statistics) == repr(right.statistics)  # some are NaN
        for one, other in zip(left.past_trades, right.past_trades, strict=True):
            np.testing.assert_array_equal(one.row, other.row)
            assert {**vars(one), "row": None} == {**vars(other), "row": None}
    for name in ("balance", "gave_up", "last_error", "last_refusal", "currency"):
        assert getattr(beforehand, name) == getattr(inline, name), name
    return inline


@pytest.mark.parametrize("latency_ns", [0, 10 * MS])
def test_several_instruments_with_breaks_and_refused_windows(
    bar_settings: BarBacktestSettings, latency_ns: int
) -> None:
    quiet, split = silent(market("ETHUSDT", 240, seed=2), 90, 155), reverse_split(market("SOLUSDT", 240, seed=3), 150)
    bars = [without(market("BTCUSDT", 240), 80, 81), quiet, split]

    inline = both(bars, replace(bar_settings, latency_ns=latency_ns, max_failures=5))

    assert [instrument.without_volume for instrument in inline.instruments] == [0, 6, 0]
    assert [instrument.refused for instrument in inline.instruments] == [0, 0, 59]
    assert "BadWindow" in inline.last_refusal
    assert all(len(instrument.fills) > 20 for instrument in inline.instruments)
    assert inline.instruments[0].not_arrived == (0 if are_alerts_in_order() and latency_ns == 0 else 1)


def test_response_due_when_the_wait_for_other_bars_ends(bar_settings: BarBacktestSettings) -> None:
    late = market("ETHUSDT", 160, seed=2)
    bars = [market("BTCUSDT", 160), replace(late, ts_event=late.ts_event + 5 * MS)]

    inline = both(bars, replace(bar_settings, latency_ns=10 * MS, batch_wait_ns=5 * MS))

    for instrument in inline.instruments:
        assert (instrument.fills["ts_ns"] % MS == 0).all()
        assert len(instrument.fills) > 20


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_through_a_queue(bar_settings: BarBacktestSettings, slow: Path, workers: int) -> None:
    settings = replace(bar_settings, latency_profile=slow, latency_workers=workers, max_age_ns=200 * SECOND)

    inline = both([market("BTCUSDT", 200), market("ETHUSDT", 200, seed=2)], settings)

    overtaken = any((np.diff(instrument.predictions["bar"]) < 0).any() for instrument in inline.instruments)
    assert overtaken == (workers > 1)
    assert all(len(instrument.fills) > 10 for instrument in inline.instruments)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_BARS.exists(), reason="the real bars are not here")
def test_on_real_minutes(bar_settings: BarBacktestSettings) -> None:
    bars = load_bars(REAL_BARS, 0, 0).between(0, 700)

    dollars = InstrumentOptions(currency="USD")
    inline = both([bars], replace(bar_settings, trade_size=bar_settings.trade_size / 10, instruments=dollars))

    assert len(inline.instruments[0].predictions) > 600
    assert len(inline.instruments[0].fills) > 20
