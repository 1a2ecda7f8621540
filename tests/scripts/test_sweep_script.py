"""scripts/sweep.py as a quant or a CI job calls it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.tokens import KEY_FILE
from support import PROJECT, run_script, script_app

SCRIPT = "scripts/sweep.py"


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("tick", "--set", "colour=1"), 2, "one of model"),
        (("tick", "--set", "min_probability=high"), 2, "expected a number"),
        (("price", "--set", "min_probability=0.4"), 2, "min_confidence"),
        (("tick",), 2, "--set"),
        (("tick", "--set", "latency=1ms", "--url", "http://127.0.0.1:9", "--trades", "100"), 1, "Could not connect"),
        (("tick", "--set", "latency=1ms", "--url", "mar:nowhere.mar", "--trades", "100"), 1, "nowhere.mar"),
        (("tick", "--set", "latency=1ms", "--data", "nowhere.csv"), 1, "nowhere.csv: expected a file of trades"),
        (("price", "--set", "latency=1ms", "--data", "nowhere.csv"), 1, "nowhere.csv"),
    ],
)
def test_a_sweep_that_cannot_begin_fails_with_the_reason(arguments: tuple[str, ...], status: int, reason: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(script_app(PROJECT / SCRIPT), arguments)

    assert result.exit_code == status, result.output
    assert reason in result.output


@pytest.mark.slow
def test_prints_one_object_writes_the_page_and_fails_for_one_that_failed(
    tick_server: TorchServe, tmp_path: Path
) -> None:
    there = ("--url", tick_server.inference_url, "--token-file", tick_server.home / KEY_FILE, "--in-sample")
    tried = ("--set", "min_probability=0.34,2", "--set", "latency=0,1ms", "--trades", "1200")

    result = run_script(SCRIPT, "tick", *there, *tried, "--report", tmp_path / "x", "--json")

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "error: 2 of 4 backtests failed; the first: expected min_probability in"
    )
    summary = json.loads(result.stdout)
    assert [bool(trial["error"]) for trial in summary["trials"]] == [False, False, True, True]
    assert (summary["possible"], summary["tried"], summary["failed"]) == (4, 4, 2)
    assert summary["subject"]["version"] == "1.0"
    assert Path(summary["report"]).is_file()
