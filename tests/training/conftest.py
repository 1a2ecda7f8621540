import pytest

from market.bar_simulator import simulate_bars
from market.bars import Bars
from market.labels import LabelConfig
from market.simulator import simulate
from market.trades import Trades
from training.bar_dataset import BarDataset, bar_dataset
from training.bar_fit import BarFitConfig
from training.price_training import PriceTraining
from training.tick_dataset import DatasetSplit, tick_dataset
from training.tick_fit import FitConfig


@pytest.fixture(scope="session")
def trades() -> Trades:
    """A small simulated market."""
    return simulate(3_000)


@pytest.fixture(scope="session")
def split(trades: Trades) -> DatasetSplit:
    """Its labelled rows."""
    return tick_dataset(trades, LabelConfig())


@pytest.fixture(scope="session")
def quick() -> FitConfig:
    """A fit of a moment."""
    return FitConfig(epochs=4, batch_rows=256)


@pytest.fixture(scope="session")
def bars() -> Bars:
    """A small simulated market in minutes."""
    return simulate_bars(1_600)


@pytest.fixture(scope="session")
def dataset(bars: Bars) -> BarDataset:
    """Its windows, in two folds."""
    return bar_dataset(bars, indicators=False, max_gap_ns=bars.interval_ns, folds=2)


@pytest.fixture(scope="session")
def small() -> PriceTraining:
    """A training of a moment."""
    return PriceTraining(network_config={"hidden": 4, "layers": 1}, fit=BarFitConfig(epochs=2), folds=2)
