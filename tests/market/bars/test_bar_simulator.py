from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import check_bars, examine
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, BarSimulatorConfig, simulate_bars
from nautilus_torchserve.market.trades.simulator import START_NS
from nautilus_torchserve.market.trades.trades import Instrument


@pytest.fixture(scope="module")
def long() -> Bars:
    return simulate_bars(60_000, seed=1)


@pytest.fixture(scope="module")
def returns(long: Bars) -> np.ndarray:
    return np.diff(np.log(long.prices()))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def test_simulated_bars_are_valid_and_marked_as_simulated() -> None:
    bars = check_bars(simulate_bars(500, seed=7))

    assert len(bars) == 500
    assert bars.simulated
    assert bars.source == "simulated bars (seed 7)"
    assert bars.instrument == Instrument("SIMUSD", "SIM", 2, 3)
    assert (bars.interval_ns, bars.ts_event[0]) == (MINUTE_NS, START_NS + MINUTE_NS)
    assert not examine(bars).found


@given(
    st.integers(1, 200),
    st.integers(0, 2**32),
    st.floats(0.001, 1e4),
    st.floats(0.1, 20),
    st.integers(0, 5),
    st.sampled_from([MINUTE_NS, 5 * MINUTE_NS, 1440 * MINUTE_NS]),
)
def test_a_bar_holds_together(bars: int, seed: int, price: float, bps: float, precision: int, interval: int) -> None:
    config = BarSimulatorConfig(interval_ns=interval, start_price=price, minute_volatility_bps=bps)

    made = simulate_bars(bars, seed, config, Instrument("X", "Y", precision, 0))

    assert (made.high >= np.maximum(made.open, made.close)).all()
    assert (made.low <= np.minimum(made.open, made.close)).all()
    assert (made.low > 0).all()
    assert (made.volume > 0).all()
    assert (made.open[1:] == made.close[:-1]).all()
    assert (np.diff(made.ts_event) == interval).all()


def test_the_seed_decides() -> None:
    assert simulate_bars(300, seed=3).sha256 == simulate_bars(300, seed=3).sha256
    assert simulate_bars(300, seed=3).sha256 != simulate_bars(300, seed=4).sha256


def test_the_next_return_can_be_foreseen_a_little(returns: np.ndarray) -> None:
    known = correlation(returns[1:], returns[:-1]) ** 2

    assert known == pytest.approx(BarSimulatorConfig().momentum ** 2, abs=0.006)  # R^2 of the best linear forecast


def test_without_momentum_returns_are_unpredictable() -> None:
    bars = simulate_bars(60_000, seed=2, config=BarSimulatorConfig(momentum=0.0))
    returns = np.diff(np.log(bars.prices()))

    assert abs(correlation(returns[1:], returns[:-1])) < 0.02


def test_volatility_is_as_configured_and_clusters_with_fat_tails(returns: np.ndarray) -> None:
    config = BarSimulatorConfig()
    squares = returns**2

    assert 1e4 * returns.std() * np.sqrt(1 - config.momentum**2) == pytest.approx(config.minute_volatility_bps, rel=0.1)
    assert correlation(squares[1:], squares[:-1]) > correlation(squares[50:], squares[:-50]) > 0.02
    assert ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2 > 4.5  # 3 for the normal distribution


def test_a_longer_bar_moves_and_trades_more() -> None:
    minutes, days = simulate_bars(5_000), simulate_bars(5_000, config=BarSimulatorConfig(interval_ns=1440 * MINUTE_NS))

    ratio = np.diff(np.log(days.prices())).std() / np.diff(np.log(minutes.prices())).std()

    assert ratio == pytest.approx(np.sqrt(1440), rel=0.05)
    assert np.median(days.volume) / np.median(minutes.volume) == pytest.approx(1440, rel=0.05)


def test_volume_rises_with_the_move(long: Bars, returns: np.ndarray) -> None:
    assert correlation(np.abs(returns), np.log(long.volume[1:])) > 0.3


def test_a_bars_range_is_that_of_a_random_walk(long: Bars, returns: np.ndarray) -> None:
    spread = np.log(long.prices("high") / long.prices("low")).mean() / np.abs(returns).mean()

    assert 1.5 < spread < 2.0  # 2 for Brownian motion; steps that are few see less of it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shock": 0.1}, "sum below 1"),
        ({"momentum": 1.0}, "expected momentum between -1 and 1, got 1.0"),
        ({"degrees_of_freedom": 2.0}, "expected degrees_of_freedom above 2"),
        ({"interval_ns": 0}, "expected interval_ns above 0, got 0"),
        ({"volume_sigma": -1.0}, "expected volume_sigma of at least 0"),
        ({"minute_volatility_bps": float("nan")}, "expected minute_volatility_bps above 0, got nan"),
    ],
)
def test_invalid_market_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BarSimulatorConfig(**{**asdict(BarSimulatorConfig()), **change})


def test_prices_beyond_exact_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"below 2\*\*53 smallest steps"):
        simulate_bars(10, config=BarSimulatorConfig(start_price=1e14))


def test_no_bars_cannot_be_simulated() -> None:
    with pytest.raises(ValueError, match="expected at least 1 bar, got 0"):
        simulate_bars(0)
