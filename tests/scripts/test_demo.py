"""The demo: to the end with orders placed, nothing left behind, whatever happens."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.serving.server.torchserve import find_server
from support import PROJECT, call_script


def options(folder: Path) -> list[str]:
    """The demo with all it writes in one folder."""
    names = {"--out": "report", "--run": "run", "--store": "store", "--home": "home"}
    return [word for flag, name in names.items() for word in (flag, str(folder / name))] + ["--free-ports"]


def servers_in(folder: Path) -> list[psutil.Process]:
    """Java and worker processes that were started for this folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or []) and "demo.py" not in str(process.info)
    ]


@pytest.mark.slow  # `.ci/run` has run `make demo` by then
def test_demo_trades_and_leaves_nothing_running(tmp_path: Path) -> None:
    result = call_script("scripts/demo.py", *options(tmp_path), "--size", "12000", "--json")

    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["simulated"]
    assert summary["predictions"] > 2000
    assert summary["orders"] > 0
    assert summary["failed"] == 0
    assert "Simulated market" in (tmp_path / "report" / "index.html").read_text()
    assert (tmp_path / "store" / "tick.mar").is_file()
    assert find_server(tmp_path / "home") is None
    assert not servers_in(tmp_path)


@pytest.mark.slow
def test_demo_trades_bars_too(tmp_path: Path) -> None:
    result = call_script("scripts/demo.py", "bars", *options(tmp_path), "--size", "3000", "--json")

    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["simulated"]
    assert summary["predictions"] > 500
    assert summary["failed"] == 0
    assert "Simulated market" in (tmp_path / "report" / "index.html").read_text()
    assert "SIMULATED MARKET" in Path(summary["evaluation"]).read_text()
    assert (tmp_path / "store" / "price.mar").is_file()
    assert find_server(tmp_path / "home") is None
    assert not servers_in(tmp_path)


@pytest.mark.slow
def test_demo_trades_whole_coins(tmp_path: Path) -> None:
    """A file of one's own, with sizes without decimals: the default size of 0.1 cannot be ordered there."""
    trades = simulate(12_000)
    lines = [
        f"{i},{price / 100},{size},0,{ts // 1_000_000},{str(side < 0).lower()}"
        for i, (price, size, ts, side) in enumerate(
            zip(trades.price, trades.size, trades.ts_event, trades.side, strict=True)
        )
    ]
    data = tmp_path / "DOGEUSDT-trades-2024-01.csv"
    data.write_text("\n".join(lines))

    result = call_script("scripts/demo.py", *options(tmp_path), "--data", data, "--json")

    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["orders"] > 0
    assert not summary["simulated"]
    assert summary["instrument_id"] == "DOGEUSDT.BINANCE"
    assert "Simulated market" not in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_demo_stops_its_server(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    command = [sys.executable, "scripts/demo.py", *options(tmp_path), "--size", "12000"]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as demo:
        deadline = time.monotonic() + 120
        while find_server(tmp_path / "home") is None:
            assert demo.poll() is None, demo.stderr.read() if demo.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.05)
        demo.send_signal(sent)
        _, errors = demo.communicate(timeout=60)

    assert demo.returncode == code, errors
    assert find_server(tmp_path / "home") is None
    assert not servers_in(tmp_path)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "empty file"), ("a,b\n1,2\n", "columns"), ("id,price,qty,quote_qty,time,is_buyer_maker\n", "only a header")],
)
def test_bad_data_end_the_demo_before_anything_is_started(tmp_path: Path, content: str, message: str) -> None:
    data = tmp_path / "BTCUSDT-trades-2024-01.csv"
    data.write_text(content)

    result = call_script("scripts/demo.py", *options(tmp_path), "--data", data)

    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [data.name]
