"""A simulated market for trials without market data: order flow in self-exciting bursts.

Buys and sells arrive as a bivariate Hawkes process with exponential kernels (Hawkes 1971): each
trade makes more of its own side likely for a while and, less so, of the other side. This gives
clustered, persistent order flow as in Bacry & Muzy (2014), sampled exactly and without rejection
after Dassios & Zhao (2013). The efficient price moves with permanent impact, concave in size, and
with noise; a buyer pays half the spread more, a seller gets half the spread less.

As flow persists and has impact, the next moves can be predicted a little: with the defaults, after
the tenth of the trades with the most one-sided flow the efficient price moves on by 0.9 bps within
20 trades, in the mean. Crossing the spread there and back costs 1.0 bps. Results on simulated
trades say nothing about a real market.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.trades.trades import Instrument, Trades

START_NS = 1_704_067_200_000_000_000
"""2024-01-01T00:00:00Z."""
INSTRUMENT = Instrument("SIMUSD", "SIM", price_precision=2, size_precision=3)


@dataclass(frozen=True)
class SimulatorConfig:
    """The market to simulate; in the mean 2 * base_rate / (1 - self_excitation - cross_excitation) trades/s."""

    base_rate: float = 0.15
    """Trades per second and side that no other trade caused."""
    self_excitation: float = 0.85
    """Further trades of its own side that a trade causes directly, in the mean."""
    cross_excitation: float = 0.08
    """Trades of the other side that a trade causes directly, in the mean."""
    decay: float = 1.0
    """Rate at which a trade's influence fades (1/s)."""
    start_price: float = 40_000.0
    """First efficient price (USD)."""
    spread_bps: float = 1.0
    """Ask above bid, in bps of the efficient price."""
    impact_bps: float = 0.1
    """Permanent move of the efficient price by a trade of median size (bps)."""
    volatility_bps: float = 0.5
    """Standard deviation of the efficient price's noise over one second (bps)."""
    median_size: float = 0.05
    """Median of the log-normal sizes."""
    size_sigma: float = 1.0
    """Standard deviation of a size's logarithm."""

    def __post_init__(self) -> None:
        branching = self.self_excitation + self.cross_excitation
        if not (0 <= self.cross_excitation <= self.self_excitation and branching < 1):
            raise ValueError(
                "expected 0 <= cross_excitation <= self_excitation with a sum below 1 (else trades explode), "
                f"got {self.cross_excitation} and {self.self_excitation}"
            )
        positive = ("base_rate", "decay", "start_price", "median_size")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} above 0, got {getattr(self, name)}")


def simulate(trades: int, seed: int = 1, config: SimulatorConfig | None = None) -> Trades:
    """Simulate ``trades`` trades of SIMUSD.SIM from 2024-01-01 UTC on; the same seed, the same trades.

    Parameters
    ----------
    trades : int
        At least 1.
    seed : int
        Seed of the random generator.
    config : SimulatorConfig, optional
        The market to simulate.
    """
    if trades < 1:
        raise ValueError(f"expected at least 1 trade, got {trades}")
    config = config or SimulatorConfig()
    rng = np.random.default_rng(seed)
    seconds, side = _arrivals(trades, rng, config)
    size = config.median_size * np.exp(config.size_sigma * rng.standard_normal(trades))
    impact_bps = config.impact_bps * side * np.sqrt(size / config.median_size)
    noise_bps = config.volatility_bps * np.sqrt(np.diff(seconds, prepend=0.0)) * rng.standard_normal(trades)
    before_bps = np.cumsum(noise_bps) + np.cumsum(impact_bps) - impact_bps  # a trade moves the price after itself
    efficient = config.start_price * np.exp(before_bps / 1e4)
    paid = efficient * (1.0 + side * config.spread_bps / 2e4)
    ts_event = START_NS + np.rint(seconds * 1e9).astype(np.int64)
    return Trades(
        instrument=INSTRUMENT,
        source=f"simulated market (seed {seed})",
        simulated=True,
        ts_event=ts_event,
        ts_init=ts_event,
        price=_steps(paid, INSTRUMENT.price_precision),
        size=_steps(size, INSTRUMENT.size_precision),
        side=side,
        trade_id=np.arange(1, trades + 1).astype(np.str_),
    )


def _arrivals(
    trades: int, rng: np.random.Generator, config: SimulatorConfig
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return times in seconds and sides of a Hawkes process, by Dassios & Zhao's algorithm.

    The next trade is the earlier of one that the base rate causes and one that the excitement
    causes; the latter has, as the excitement fades, a chance of never coming.
    """
    baseline = 2 * config.base_rate
    jump_self, jump_cross = config.decay * config.self_excitation, config.decay * config.cross_excitation
    immigrant_waits = (rng.exponential(size=trades) / baseline).tolist()
    offspring_draws = rng.exponential(size=trades).tolist()
    side_draws = rng.random(trades).tolist()
    seconds, sides = np.empty(trades), np.empty(trades, dtype=np.int8)
    now = buy = sell = 0.0  # buy, sell: excitement, in trades per second above the base rate
    for i in range(trades):
        wait, excitement = immigrant_waits[i], buy + sell
        if excitement > 0.0:
            left = 1.0 - config.decay * offspring_draws[i] / excitement
            if left > 0.0:
                wait = min(wait, -math.log(left) / config.decay)
        fade = math.exp(-config.decay * wait)
        buy, sell, now = buy * fade, sell * fade, now + wait
        seconds[i] = now
        if side_draws[i] * (baseline + buy + sell) < config.base_rate + buy:
            sides[i], buy, sell = 1, buy + jump_self, sell + jump_cross
        else:
            sides[i], buy, sell = -1, buy + jump_cross, sell + jump_self
    return seconds, sides


def _steps(values: NDArray[np.float64], precision: int) -> NDArray[np.int64]:
    """Return the nearest whole number of steps, at least one."""
    return np.maximum(np.rint(values * 10**precision).astype(np.int64), 1)
