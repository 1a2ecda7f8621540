import json
from pathlib import Path

import pytest
from click.testing import Result

from support import REAL_DATA, call_script

SAMPLE = REAL_DATA / "btcusdt_perp_trades_2020-02-22.csv"


def train(*arguments: object) -> Result:
    return call_script("scripts/train.py", "tick", *map(str, arguments))


def test_stdout_holds_only_json(tmp_path: Path) -> None:
    out = tmp_path / "tick"

    done = train("--trades", 2_000, "--epochs", 2, "--out", out, "--json")

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(out)
    assert "simulated market (seed 1)" in done.stderr
    assert "edge" in done.stderr or "beats" in done.stderr
    assert (out / "model.json").is_file()


def test_bad_data_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = train("--data", tmp_path / "nowhere.csv", "--out", tmp_path / "tick")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("--label-trades", 0), ("--cost-bps", "nan"), ("--nonsense",)])
def test_invalid_arguments_are_status_2(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    done = train(*arguments, "--out", tmp_path / "tick")

    assert done.exit_code == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the real sample is not here")
def test_real_trades_train_too(tmp_path: Path) -> None:
    done = train("--data", SAMPLE, "--epochs", 2, "--out", tmp_path / "tick", "--json")

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["training"]["instrument_id"] == "BTCUSDT.BINANCE"
