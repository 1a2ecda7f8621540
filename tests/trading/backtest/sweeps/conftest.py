"""A small market, and a plan that runs on it in process."""

from pathlib import Path

import pytest

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.sweeps.point import Plan
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings


@pytest.fixture(scope="session")
def few_trades() -> Trades:
    """Simulated trades that `tick_archive` was fitted on."""
    return load(None, trades=1500, seed=1)


@pytest.fixture(scope="session")
def plan(few_trades: Trades, tick_archive: Path) -> Plan:
    """A tick backtest that trades often."""
    settings = BacktestSettings(url=f"mar:{tick_archive}", in_sample=True, min_probability=0.34)
    return Plan(few_trades, settings)
