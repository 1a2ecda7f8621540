import subprocess
import sys
from pathlib import Path

import pytest

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import BadData

CSV = "7,42283.50,0.100,4228.35,1704067200123,true\n"


def test_without_data_the_market_is_simulated() -> None:
    assert load(None, trades=100, seed=5).sha256 == simulate(100, 5).sha256


def test_a_file_is_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "ETHUSDT-trades-2024-01.csv"
    path.write_text(CSV)

    assert load(path, trades=0, seed=0).instrument.instrument_id == "ETHUSDT.BINANCE"
    assert len(load(str(path), trades=0, seed=0, instrument_id="ETHUSDT.BINANCE")) == 1
    with pytest.raises(BadData, match=r"expected trades of BTCUSDT\.BINANCE, got ETHUSDT\.BINANCE"):
        load(path, trades=0, seed=0, instrument_id="BTCUSDT.BINANCE")


def test_what_is_loaded_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "ETHUSDT-trades-2024-01.csv"
    path.write_text(CSV.replace("0.100", "0.000"))

    with pytest.raises(BadData, match="expected a positive size"):
        load(path, trades=0, seed=0)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"expected a file of trades, a folder .*, got a path that does not exist"):
        load(tmp_path / "nowhere", trades=0, seed=0)


def test_a_folder_is_a_catalog(tmp_path: Path) -> None:
    pytest.importorskip("nautilus_trader")

    with pytest.raises(BadData, match="catalog with trades"):
        load(tmp_path, trades=0, seed=0)


def test_training_imports_no_trading_platform() -> None:
    pytest.importorskip("torch")
    code = """
import sys, nautilus_torchserve.training.tick.run, nautilus_torchserve.training.price.run
import nautilus_torchserve.market.trades.load, nautilus_torchserve.market.bars.load
sys.exit('nautilus_trader' in sys.modules or 'ts' in sys.modules)
"""

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
