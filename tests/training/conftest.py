import pytest

from market.labels import LabelConfig
from market.simulator import simulate
from market.trades import Trades
from training.dataset import DatasetSplit, tick_dataset
from training.fit import FitConfig


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
