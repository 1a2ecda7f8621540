from dataclasses import asdict

import numpy as np
import pytest

from nautilus_torchserve.market.trades.simulator import START_NS, SimulatorConfig, simulate
from nautilus_torchserve.market.trades.trades import check

TRADES = 60_000


@pytest.fixture(scope="module")
def side_lag() -> tuple[np.ndarray, np.ndarray]:
    """Sides of a long simulation, and seconds between its trades."""
    trades = simulate(TRADES)
    return trades.side.astype(float), np.diff(trades.ts_event) / 1e9


def test_simulated_trades_are_valid_and_marked_as_simulated() -> None:
    trades = check(simulate(1_000, seed=7))

    assert len(trades) == 1_000
    assert trades.simulated
    assert trades.source == "simulated market (seed 7)"
    assert trades.instrument.instrument_id == "SIMUSD.SIM"
    assert trades.ts_event[0] >= START_NS


def test_the_seed_decides() -> None:
    assert simulate(500, seed=3).sha256 == simulate(500, seed=3).sha256
    assert simulate(500, seed=3).sha256 != simulate(500, seed=4).sha256


def test_the_rate_is_that_of_the_process(side_lag: tuple[np.ndarray, np.ndarray]) -> None:
    config = SimulatorConfig()
    expected = 2 * config.base_rate / (1 - config.self_excitation - config.cross_excitation)

    assert 1 / side_lag[1].mean() == pytest.approx(expected, rel=0.15)


def test_trades_cluster(side_lag: tuple[np.ndarray, np.ndarray]) -> None:
    waits = side_lag[1]

    assert waits.std() > 1.3 * waits.mean()  # a Poisson process has 1.0


def test_order_flow_persists(side_lag: tuple[np.ndarray, np.ndarray]) -> None:
    side = side_lag[0]

    assert abs(side.mean()) < 0.1
    assert (side[:-1] * side[1:]).mean() > (side[:-20] * side[20:]).mean() > 0.05


def test_without_excitement_trades_are_poisson_and_coin_flips() -> None:
    trades = simulate(20_000, config=SimulatorConfig(base_rate=2.0, self_excitation=0.0, cross_excitation=0.0))
    waits, side = np.diff(trades.ts_event) / 1e9, trades.side.astype(float)

    assert waits.mean() == pytest.approx(1 / 4, rel=0.03)
    assert waits.std() == pytest.approx(waits.mean(), rel=0.05)
    assert abs((side[:-1] * side[1:]).mean()) < 0.03


def test_a_buyer_pays_the_spread() -> None:
    still = SimulatorConfig(impact_bps=0.0, volatility_bps=0.0, spread_bps=2.0)

    trades = simulate(200, config=still)

    assert set(zip(trades.side.tolist(), trades.prices().tolist(), strict=True)) == {(1, 40_004.0), (-1, 39_996.0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"self_excitation": 0.95}, "sum below 1"),
        ({"cross_excitation": 0.9}, "cross_excitation <= self_excitation"),
        ({"decay": 0.0}, "expected decay above 0, got 0.0"),
        ({"base_rate": -1.0}, "expected base_rate above 0"),
    ],
)
def test_invalid_market_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulatorConfig(**{**asdict(SimulatorConfig()), **change})


def test_no_trades_cannot_be_simulated() -> None:
    with pytest.raises(ValueError, match="expected at least 1 trade, got 0"):
        simulate(0)
