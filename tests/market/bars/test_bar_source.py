import subprocess
import sys
from pathlib import Path

import pytest

from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.load import load_bar_files, load_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, BarSimulatorConfig, simulate_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData

T_S = 1_704_067_200
ROWS = "".join(f"{T_S + 60 * i},{100 + i},{102 + i},{99 + i},{101 + i},{1 + i}\n" for i in range(12))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "ETHUSDT-1m-2024-01.csv"
    path.write_text(ROWS)
    return path


def test_without_data_the_market_is_simulated() -> None:
    assert load_bars(None, bars=100, seed=5).sha256 == simulate_bars(100, 5).sha256

    hours = load_bars(None, bars=100, seed=5, interval_ns=60 * MINUTE_NS)

    assert hours.sha256 == simulate_bars(100, 5, BarSimulatorConfig(interval_ns=60 * MINUTE_NS)).sha256
    with pytest.raises(BadData, match=r"expected bars of BTCUSDT\.BINANCE, got SIMUSD\.SIM"):
        load_bars(None, bars=100, seed=5, instrument_id="BTCUSDT.BINANCE")


def test_a_file_is_a_csv(csv: Path) -> None:
    bars = load_bars(str(csv), bars=0, seed=0, instrument_id="ETHUSDT.BINANCE")

    assert bars.sha256 == load_bar_files(csv).sha256
    assert load_bars(csv, 0, 0, read=ReadOptions("close")).ts_event[0] == T_S * 10**9
    with pytest.raises(BadData, match=r"expected bars of BTCUSDT\.BINANCE, got ETHUSDT\.BINANCE"):
        load_bars(csv, bars=0, seed=0, instrument_id="BTCUSDT.BINANCE")


def test_longer_bars_are_made_of_those_there_are(csv: Path) -> None:
    bars = load_bars(csv, bars=0, seed=0, interval_ns=5 * MINUTE_NS)

    assert bars.sha256 == aggregate(load_bar_files(csv), 5 * MINUTE_NS).sha256
    assert bars.open.tolist() == [100, 105]
    assert bars.close.tolist() == [105, 110]
    assert bars.volume.tolist() == [15, 40]
    assert load_bars(csv, 0, 0, interval_ns=MINUTE_NS).sha256 == load_bar_files(csv).sha256


@pytest.mark.parametrize("interval_ns", [MINUTE_NS // 2, 90 * 10**9])
def test_other_bars_cannot_be_made_of_them(csv: Path, interval_ns: int) -> None:
    with pytest.raises(BadData, match="a multiple of the bars' 60 s"):
        load_bars(csv, bars=0, seed=0, interval_ns=interval_ns)


def test_what_is_loaded_is_checked(csv: Path) -> None:
    csv.write_text(ROWS.replace(",102,", ",-102,"))

    with pytest.raises(BadData, match="High below low in 1 of 12 bars, first in line 1"):
        load_bars(csv, bars=0, seed=0)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BadData,
        match=r"expected a file of bars, a folder .* with bars, got a path that does not exist",
    ):
        load_bars(tmp_path / "nowhere", bars=0, seed=0)


def test_a_folder_is_a_catalog(tmp_path: Path) -> None:
    pytest.importorskip("nautilus_trader")

    with pytest.raises(BadData, match="catalog with bars"):
        load_bars(tmp_path, bars=0, seed=0)


def test_bars_from_files_need_no_trading_platform() -> None:
    code = "import sys, nautilus_torchserve.market.bars.load; sys.exit('nautilus_trader' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
