"""scripts/backtest.py as a CI job calls it."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.tokens import KEY_FILE
from support import run_script

SCRIPT = "scripts/backtest.py"
FEW = ("--trades", "6000", "--min-probability", "0.34")


def test_prints_one_object_and_writes_the_report(tick_archive: Path, tmp_path: Path) -> None:
    result = run_script(SCRIPT, "tick", "--url", f"mar:{tick_archive}", *FEW, "--report", tmp_path / "x", "--json")

    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["trades"] < 6000
    assert summary["predictions"] + summary["not_arrived"] == summary["trades"] - 32
    assert (summary["failed"], summary["gave_up"], summary["in_sample"]) == (0, False, False)
    assert Path(summary["report"]).is_file()


def test_requests_carry_the_token_of_the_servers_key_file(tick_server: TorchServe) -> None:
    url, keys = tick_server.inference_url, tick_server.home / KEY_FILE

    result = run_script(SCRIPT, "tick", "--url", url, "--token-file", keys, *FEW, "--json")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["predictions"] > 1000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--url", "http://127.0.0.1:9"), "Could not connect"),
        (("--url", "mar:nowhere.mar"), "nowhere.mar: expected a model archive, got no file"),
        (
            ("--data", "nowhere.csv"),
            "nowhere.csv: expected a file of trades, a folder with such files, or a NautilusTrader catalog",
        ),
        (("--token-file", "nowhere.json"), "nowhere.json: expected TorchServe's key file"),
    ],
)
def test_a_failed_job_prints_its_reason_in_one_line(arguments: tuple[str, ...], reason: str) -> None:
    result = run_script(SCRIPT, "tick", "--trades", "100", *arguments)

    assert result.returncode == 1
    assert result.stdout == ""
    assert reason in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_an_unknown_model_fails_the_job(tick_server: TorchServe) -> None:
    url, keys = tick_server.inference_url, tick_server.home / KEY_FILE

    result = run_script(SCRIPT, "tick", "--model", "nobody", "--url", url, "--token-file", keys)

    assert result.returncode == 1
    assert "Model not found: nobody" in result.stderr.splitlines()[-1]


def test_data_that_the_fit_saw_fail_the_job_unless_allowed(tick_archive: Path) -> None:
    seen = ("--url", f"mar:{tick_archive}", "--trades", "1000", "--json")

    refused, asked_for = run_script(SCRIPT, "tick", *seen), run_script(SCRIPT, "tick", *seen, "--in-sample")

    assert refused.returncode == 1
    assert "as the model's fit saw" in refused.stderr
    assert asked_for.returncode == 0, asked_for.stderr
    assert json.loads(asked_for.stdout)["sample"].startswith("IN SAMPLE")


@pytest.mark.parametrize(
    "arguments",
    [("--latency", "0ms"), ("--latency", "soon"), ("--latency", "2s"), ("--size", "x"), ("--url", "ftp://x")],
)
def test_invalid_arguments_end_with_status_2(arguments: tuple[str, str]) -> None:
    result = run_script(SCRIPT, "tick", "--trades", "100", *arguments)

    assert result.returncode == 2
    assert re.search(r"expected .*\bgot\b", " ".join(result.stderr.split()))


EAGER = ("--min-confidence", "0.5", "--cost-bps", "0.5")


def write_csv(path: Path, seed: int) -> Path:
    """300 simulated minutes as a venue exports them."""
    bars = simulate_bars(300, seed)
    columns = {name: bars.prices(name) for name in PRICES}
    opened = pd.to_datetime(bars.ts_event - bars.interval_ns, utc=True)
    pd.DataFrame({"timestamp": opened, **columns, "volume": bars.volumes()}).to_csv(path, index=False)
    return path


def test_price_prints_one_object_and_writes_the_report(price_archive: Path, tmp_path: Path) -> None:
    few = ("--bars", "200", *EAGER, "--report", tmp_path / "x")

    result = run_script(SCRIPT, "price", "--url", f"mar:{price_archive}", *few, "--json")

    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["bars"], summary["predictions"], summary["not_arrived"], summary["failed"]) == (200, 140, 1, 0)
    assert summary["orders"] > 10
    assert (summary["simulated"], summary["instrument_id"]) == (True, "SIMUSD.SIM")
    assert summary["report"] == str(tmp_path / "x" / "index.html")
    assert Path(summary["report"]).is_file()


def test_price_takes_several_files_with_their_names_in_order(price_archive: Path, tmp_path: Path) -> None:
    data = [write_csv(tmp_path / name, seed) for seed, name in enumerate(("a.csv", "b.csv"))]
    options = [word for path in data for word in ("--data", path)]
    options += [word for name in ("BTC-PERP.X", "ETH-PERP.X") for word in ("--instrument", name)]

    result = run_script(
        SCRIPT,
        "price",
        "--url",
        f"mar:{price_archive}",
        *options,
        "--currency",
        "USD",
        "--bar",
        "1-MINUTE",
        *EAGER,
        "--report",
        tmp_path / "r",
    )

    assert result.returncode == 0, result.stderr
    assert "BTC-PERP.X, ETH-PERP.X" in result.stderr
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert [instrument["source"] for instrument in summary["instruments"]] == ["a.csv", "b.csv"]
    assert sorted(path.parent.name for path in tmp_path.glob("r/*/index.html")) == ["BTC-PERP.X", "ETH-PERP.X"]


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--bar", "1-WEEK"), 2, "such as 1-MINUTE"),
        (("--horizon", "1s"), 2, "horizon_ns of at least a bar's"),
        (("--data", "a.csv", "--data", "b.csv", "--instrument", "A.B"), 2, "as many --instrument as --data"),
        (
            ("--data", "nowhere.csv"),
            1,
            "nowhere.csv: expected a file of bars, a folder with such files, or a NautilusTrader catalog",
        ),
        (("--bar", "5-MINUTE"), 1, "expected a model of 300 s bars, got one of 60 s"),
    ],
)
def test_a_failed_price_job_prints_its_reason(
    price_archive: Path, arguments: tuple[str, ...], status: int, reason: str
) -> None:
    few = () if "--data" in arguments else ("--bars", "600")

    result = run_script(SCRIPT, "price", "--url", f"mar:{price_archive}", *few, *arguments)

    assert result.returncode == status
    assert result.stdout == ""
    assert reason in " ".join(result.stderr.replace("\u2502", " ").split())
    assert "Traceback" not in result.stderr
