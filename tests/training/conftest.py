import pytest

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.market.trades.labels import LabelConfig
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.training.price.dataset import PriceDataset, bar_dataset
from nautilus_torchserve.training.price.fit import PriceFitConfig
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.training.tick.dataset import DatasetSplit, tick_dataset
from nautilus_torchserve.training.tick.fit import TickFitConfig


@pytest.fixture(scope="session")
def trades() -> Trades:
    """A small simulated market."""
    return simulate(3_000)


@pytest.fixture(scope="session")
def split(trades: Trades) -> DatasetSplit:
    """Its labelled rows."""
    return tick_dataset(trades, LabelConfig())


@pytest.fixture(scope="session")
def quick() -> TickFitConfig:
    """A fit of a moment."""
    return TickFitConfig(epochs=4, batch_rows=256)


@pytest.fixture(scope="session")
def bars() -> Bars:
    """A small simulated market in minutes."""
    return simulate_bars(1_600)


@pytest.fixture(scope="session")
def dataset(bars: Bars) -> PriceDataset:
    """Its windows, in two folds."""
    return bar_dataset(bars, indicators=False, max_gap_ns=bars.interval_ns, folds=2)


@pytest.fixture(scope="session")
def small() -> PriceTraining:
    """A training of a moment."""
    return PriceTraining(network_config={"hidden": 4, "layers": 1}, fit=PriceFitConfig(epochs=2), folds=2)
