import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nautilus_torchserve.market.bars.simulator import simulate_bars
from support import PROJECT, REAL_DATA, run_script, script_app

SCRIPT = PROJECT / "scripts/train.py"
APP = script_app(SCRIPT)
QUICK = ("--bars", "1200", "--folds", "1", "--set", "fit.epochs=1", "--set", "network.hidden=4")


@pytest.mark.slow
def test_the_summary_gives_the_result_in_plain_words(tmp_path: Path) -> None:
    result = run_script(SCRIPT, "price", *QUICK, "--out", tmp_path / "run", "--json")

    assert result.returncode == 0, result.stderr
    description = json.loads(result.stdout)
    assert description["metrics"]["edge"] in result.stderr
    assert "1,200 bars of 60 s" in result.stderr
    assert "SIMULATED" in Path(description["report"]).read_text()
    assert (tmp_path / "run" / "report" / "evaluation.json").is_file()


def test_what_tuning_finds_the_next_run_takes(tmp_path: Path) -> None:
    options = ("price", "--bars", "1200", "--folds", "1", "--set", "fit.epochs=1", "--out", str(tmp_path / "run"))

    one, more = (CliRunner().invoke(APP, [*options, "--tune", trials, "--json"]) for trials in ("1", "2"))

    assert (one.exit_code, more.exit_code) == (0, 0), one.stderr + more.stderr
    assert json.loads(one.stdout)["trials"] == 1
    summary = json.loads(more.stdout)
    assert summary["trials"] == 2
    assert summary["value"] <= json.loads(one.stdout)["value"]
    best = json.loads(Path(summary["config"]).read_text())

    run = CliRunner().invoke(APP, [*options, "--config", summary["config"], "--json"])

    assert run.exit_code == 0, run.stderr
    description = json.loads(run.stdout)
    assert {name: description["network"]["config"][name] for name in best["network"]} == best["network"]


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (("--data", "missing.csv"), 1, "missing.csv"),
        (("--model", "mamba"), 2, "expected a network of price_lstm, residual, cnn, patchtst"),
        (("--set", "fit.epochs=0"), 2, "expected epochs of at least 1, got 0"),
        (("--bar", "1-FORTNIGHT"), 2, "expected bars such as 1-MINUTE, 4-HOUR or 1-DAY"),
        (("--bars", "100"), 1, "expected at least 64 windows"),
        (("--config", "missing.json"), 2, "missing.json"),
    ],
    ids=["no file", "no such model", "no epochs", "no such interval", "too few bars", "no such config"],
)
def test_a_call_that_cannot_work_is_refused_with_the_reason(
    options: tuple[str, ...], status: int, expected: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(APP, ["price", *options, "--out", str(tmp_path / "run")])

    assert result.exit_code == status
    assert expected in " ".join(result.stderr.replace("│", " ").split())


def test_quiet_hours_are_left_out_and_jumps_let_through_on_request(tmp_path: Path) -> None:
    """A coin without a trade for 200 minutes, and whose price then falls to a twelfth."""
    bars = simulate_bars(1200, seed=4)
    scale = np.where(np.arange(1200) >= 1100, 12, 1)
    volume = np.where((np.arange(1200) >= 300) & (np.arange(1200) < 500), 0, bars.volume)
    columns = {name: getattr(bars, name) // scale / 100 for name in ("open", "high", "low", "close")}
    stamps = pd.to_datetime(bars.ts_event).tz_localize("UTC").tz_convert("America/New_York").tz_localize(None)
    path = tmp_path / "coin_1m.csv"
    pd.DataFrame({"time": stamps, **columns, "volume": volume / 1000}).to_csv(path, index=False)
    options = ["price", "--data", str(path), *QUICK, "--out", str(tmp_path / "run"), "--timezone", "America/New_York"]

    refused = CliRunner().invoke(APP, options)
    trained = CliRunner().invoke(APP, [*options, "--allow-jumps", "--json"])

    assert refused.exit_code == 1
    assert "first in line 1102 (closed 2024-01-01T18:22:00Z)" in refused.stderr
    assert trained.exit_code == 0, trained.stderr
    assert "let through by --allow-jumps" in trained.stderr
    assert "141 windows without any volume were left out." in trained.stderr
    training = json.loads(trained.stdout)["training"]
    assert training["read"] == {"stamp": "open", "timezone": "America/New_York", "allow_jumps": True}
    assert training["notes"] == []
    findings = json.loads((tmp_path / "run" / "report" / "evaluation.json").read_text())["data"]["findings"]
    assert any("141 windows without any volume" in finding for finding in findings)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda rows: rows[:50], "with 0 whole windows"),
        (lambda rows: [*rows[:500], rows[500].replace(",", ",-", 1), *rows[501:]], "positive"),
        (lambda rows: [*rows[:500], f"{rows[499]}5", *rows[500:]], "line 502: expected one row for a time"),
        (lambda rows: [*rows[:500], "nonsense", *rows[500:]], "expected"),
    ],
    ids=["fewer bars than a window", "negative price", "duplicate", "nonsense"],
)
def test_a_bad_file_is_named_with_what_is_wrong(spoil, expected: str, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 1e-3, 1_200))), 2)
    rows = [
        f"{1_704_067_200 + 60 * at},{price},{price + 0.1:.2f},{price - 0.1:.2f},{price},1.5"
        for at, price in enumerate(close)
    ]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *spoil(rows)]) + "\n")

    result = CliRunner().invoke(APP, ["price", "--data", str(path), *QUICK, "--out", str(tmp_path / "run")])

    assert result.exit_code == 1
    assert "bars.csv" in result.stderr
    assert expected in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="real market data absent")
def test_real_minutes_train_without_a_word_on_their_format(tmp_path: Path) -> None:
    with gzip.open(REAL_DATA / "btc_perp_1m_2022-01.csv.gz", "rb") as whole:
        lines = whole.read().split(b"\n", 2_001)
    (tmp_path / "btc_perp_1m_2022-01.csv").write_bytes(b"\n".join(lines[:2_001]) + b"\n")

    result = run_script(
        SCRIPT,
        "price",
        "--data",
        tmp_path / "btc_perp_1m_2022-01.csv",
        "--model",
        "cnn",
        "--folds",
        "1",
        "--set",
        "fit.epochs=1",
        "--set",
        "network.hidden=4",
        "--out",
        tmp_path / "run",
        "--json",
    )

    assert result.returncode == 0, result.stderr
    description = json.loads(result.stdout)
    assert description["training"]["instrument_id"] == "BTC-PERP.FILE"
    assert description["bars"]["indicators"]
    assert not description["training"]["simulated"]
    shutil.rmtree(tmp_path / "run")
