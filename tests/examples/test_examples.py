"""The scripts and the notebook of ``examples/``, run as a user runs them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nautilus_torchserve.serving.server.torchserve import TorchServe
from support import PROJECT

EXAMPLES = PROJECT / "examples"
pytest.importorskip("torch")


def run_example(name: str, url: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a script from the root of the project and return what it prints."""
    result = subprocess.run(
        [sys.executable, f"examples/{name}", url],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_backtest_in_an_own_engine_trades(tick_archive: Path) -> None:
    printed = run_example("own_backtest.py", f"mar:{tick_archive}")

    orders, _, rest = printed.partition(" orders, total P&L ")
    assert int(orders) > 0
    assert "USDT" in rest
    assert "version=1.0" in rest


def test_own_strategy_trades_on_predictions(tick_archive: Path) -> None:
    orders, _, rest = run_example("own_strategy.py", f"mar:{tick_archive}").partition(" orders, ")

    assert int(orders) > 0
    assert rest == "0 invalid predictions\n"


def test_client_gets_the_same_predictions_both_ways(tick_server: TorchServe) -> None:
    printed = run_example("client.py", tick_server.inference_url, {"TORCHSERVE_TOKEN": tick_server.token or ""})

    *_, last = printed.splitlines()
    assert printed.startswith("tick 1.0, digest ")
    assert "'buy'" in last


def test_notebook_runs(tick_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code cells run in their order in one namespace, without Jupyter, which is not among the dependencies."""
    monkeypatch.setenv("TICK_ARCHIVE", str(tick_archive))
    notebook = json.loads((EXAMPLES / "tick_model.ipynb").read_text())
    namespace: dict[str, object] = {}

    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)


def test_every_example_is_run_and_documented() -> None:
    page = (PROJECT / "docs" / "examples.md").read_text()
    tests = Path(__file__).read_text()

    for path in EXAMPLES.iterdir():
        if path.suffix in {".py", ".ipynb"} and path.name != "market.py":
            assert path.name in page
            assert path.name in tests
