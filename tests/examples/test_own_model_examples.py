"""The models of ``examples/own_model/``: trained or handed over, packed, proved and traded in a bundle of their own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nautilus_torchserve.bundle import copy_bundle
from support import PROJECT

pytest.importorskip("torch")
EXAMPLES = PROJECT / "examples" / "own_model"
RUN = """
import json, runpy, sys
from pathlib import Path
from nautilus_torchserve.cli.main import app
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.report import write_reports
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.features.leak import find_leaks

name, script, strategy, *pack = sys.argv[1:]
sys.argv = [script]
runpy.run_path(script, run_name="__main__")
app(["pack", *pack], standalone_mode=False)
spec = f"model_defs.{name}:SPEC"
data = [load_quotes("quotes.csv") if Path("quotes.csv").exists() else load_bars(None, 300, 1)]

def run(mode):
    settings = FeatureBacktestSettings(
        url=f"mar:archives/{name}.mar", model=name, spec=spec, strategy_path=strategy, mode=mode
    )
    return settings, run_backtest(data, settings)

settings, inline = run("inline")
_, prefetched = run("prefetch")
predictions = [result.predictions.drop(columns="latency_ns") for result in (inline, prefetched)]
page = write_reports(settings, inline, Path("report"))
report = find_leaks(spec, data, other_process=False)
print(json.dumps({
    "events": sum(len(result.data) for result in inline.instruments),
    "predictions": len(inline.predictions),
    "fills": len(inline.fills),
    "equal": inline.fills.equals(prefetched.fills) and predictions[0].equals(predictions[1]),
    "leaks": [leak.sentence for leak in report.leaks],
    "page": "Strategy" in page.read_text(),
}))
"""


def bundle_with(example: str, folder: Path) -> Path:
    """A new bundle with the files of an example."""
    copy_bundle(PROJECT, folder)
    shutil.copytree(EXAMPLES / example, folder, dirs_exist_ok=True)
    return folder


def run_in(bundle: Path, *arguments: str) -> dict[str, Any]:
    """Run all steps in one process of the bundle; return what it printed last."""
    result = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=bundle,
        env={"PYTHONPATH": f"{bundle}:{PROJECT}", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(bundle)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return summary


@pytest.mark.slow
def test_gru_on_quotes(tmp_path: Path) -> None:
    bundle = bundle_with("quotes", tmp_path / "bundle")

    summary = run_in(bundle, "book", "train.py", "strategies.book_strategy:Book", "model_defs/book.py")

    assert summary["predictions"] == summary["events"] - 1  # the last one is due after the data
    assert summary["fills"] > 10
    assert (summary["equal"], summary["leaks"], summary["page"]) == (True, [], True)


@pytest.mark.slow
def test_torchscript_classifier_on_bars(tmp_path: Path) -> None:
    bundle = bundle_with("torchscript", tmp_path / "bundle")
    spec = ("breakout.pt", "--spec", "model_defs/breakout.py")

    summary = run_in(bundle, "breakout", "script.py", "strategies.breakout_strategy:Breakout", *spec)

    assert summary["predictions"] == summary["events"] - 20  # the first 19 fill the range, the last one is due late
    assert summary["fills"] > 10
    assert (summary["equal"], summary["leaks"], summary["page"]) == (True, [], True)


def test_mlp_on_indicators_is_the_one_of_the_documentation() -> None:
    """Whose commands `test_readme` runs."""
    text = (PROJECT / "docs" / "your-own-model.md").read_text()
    written = dict(re.findall(r"^cat > (\S+) <<'PYTHON'\n(.*?)^PYTHON\n", text, re.MULTILINE | re.DOTALL))
    del written["exchange_flow.py"]  # data of one's own, which the model does not read
    written["train.py"] = written.pop("train_momentum.py").replace("train_momentum.py", "train.py")

    files = {path.relative_to(EXAMPLES / "indicators").as_posix() for path in EXAMPLES.glob("indicators/**/*.py")}
    assert written == {name: (EXAMPLES / "indicators" / name).read_text() for name in files}
