"""The demo: to the end with orders placed, nothing left behind, whatever happens."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.serving.server.torchserve import find_server
from support import PROJECT, REAL_DATA, run_script

REAL_TRADES = REAL_DATA / "btcusdt_perp_trades_2020-02-22.csv"


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


def test_demo_trades_and_leaves_nothing_running(tmp_path: Path) -> None:
    result = run_script("scripts/demo.py", *options(tmp_path), "--size", "12000", "--json")

    assert result.returncode == 0, result.stderr
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
    result = run_script("scripts/demo.py", "bars", *options(tmp_path), "--size", "3000", "--json")

    assert result.returncode == 0, result.stderr
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
@pytest.mark.skipif(not REAL_TRADES.is_file(), reason="the real sample is not here")
def test_demo_runs_on_real_trades(tmp_path: Path) -> None:
    result = run_script("scripts/demo.py", *options(tmp_path), "--data", REAL_TRADES, "--json")

    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert not summary["simulated"]
    assert summary["instrument_id"] == "BTCUSDT.BINANCE"
    assert summary["orders"] > 0
    assert "Simulated market" not in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.slow
def test_demo_trades_whole_coins(tmp_path: Path) -> None:
    """Sizes without decimals: the default size of 0.1 cannot be ordered there."""
    trades = simulate(12_000)
    lines = [
        f"{i},{price / 100},{size},0,{ts // 1_000_000},{str(side < 0).lower()}"
        for i, (price, size, ts, side) in enumerate(
            zip(trades.price, trades.size, trades.ts_event, trades.side, strict=True)
        )
    ]
    data = tmp_path / "DOGEUSDT-trades-2024-01.csv"
    data.write_text("\n".join(lines))

    result = run_script("scripts/demo.py", *options(tmp_path), "--data", data, "--json")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["orders"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_demo_stops_its_server(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    command = [sys.executable, "scripts/demo.py", *options(tmp_path), "--size", "60000"]
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

    result = run_script("scripts/demo.py", *options(tmp_path), "--data", data)

    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [data.name]


def path_without_java(shadows: Path) -> str:
    """The PATH, each folder that has a java replaced by one of links to all else in it."""
    folders = []
    for number, folder in enumerate(os.environ["PATH"].split(os.pathsep)):
        if shutil.which("java", path=folder) is None:
            folders.append(folder)
            continue
        shadow = shadows / str(number)
        shadow.mkdir(parents=True)
        for tool in Path(folder).iterdir():
            if tool.name != "java":
                (shadow / tool.name).symlink_to(tool)
        folders.append(str(shadow))
    return os.pathsep.join(folders)


@pytest.mark.slow
def test_make_demo_from_a_bare_start(tmp_path: Path) -> None:
    """A clone, no environment, no Java: what a new user has."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)
    hidden = ("JAVA_HOME", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PATH"] = path_without_java(tmp_path / "shadows")
    assert shutil.which("java", path=environment["PATH"]) is None

    result = subprocess.run(
        ["make", "demo"], cwd=clone, env=environment, capture_output=True, text=True, timeout=900, check=False
    )

    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads((clone / "reports/demo/summary.json").read_text())["summary"]["fills"] > 0
    assert not servers_in(clone)
