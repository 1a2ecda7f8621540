"""scripts/backtest.py news as a CI job calls it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.news.load import load_news_bars
from support import PROJECT, script_app

BARS = 120
EAGER = ("--min-confidence", "0.5", "--cost-bps", "0.5")


@pytest.fixture(scope="module")
def call(news_archives: dict[str, Path]) -> Any:
    """Call the command on an ensemble that nobody fitted."""
    app, url = script_app(PROJECT / "scripts" / "backtest.py"), f"mar:{news_archives['ensemble']}"

    def calling(*words: str | Path) -> Result:
        return CliRunner().invoke(app, ["news", "--url", url, *map(str, words)])

    return calling


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Simulated bars and headlines as their sources export them: without times of receipt."""
    folder = tmp_path_factory.mktemp("files")
    bars, headlines = load_news_bars(None, None, BARS, 1)
    columns = {name: bars.prices(name) for name in PRICES}
    opened = pd.to_datetime(bars.ts_event - bars.interval_ns, utc=True)
    pd.DataFrame({"timestamp": opened, **columns, "volume": bars.volumes()}).to_csv(folder / "bars.csv", index=False)
    lines = [{"published": headline.ts_event, "headline": headline.text, "ticker": "SIMUSD"} for headline in headlines]
    (folder / "news.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "bars.csv", folder / "news.jsonl"


def test_prints_one_object_and_writes_the_report_and_files_give_what_simulating_gave(
    call: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    data, news = files

    simulated = call("--bars", BARS, *EAGER, "--report", tmp_path / "x", "--json")
    loaded = call("--data", data, "--news", news, "--news-delay", "2s", "--instrument", "SIMUSD.SIM", *EAGER, "--json")

    assert (simulated.exit_code, loaded.exit_code) == (0, 0), simulated.output + loaded.output
    summary, same = json.loads(simulated.stdout), json.loads(loaded.stdout)
    assert (summary["bars"], summary["predictions"], summary["not_arrived"], summary["failed"]) == (
        BARS,
        BARS - 60,
        1,
        0,
    )
    assert 0 < summary["with_news"] <= BARS - 60
    assert summary["headlines"] > 3
    assert summary["orders"] > 3
    assert (summary["simulated"], same["simulated"], summary["model"]) == (True, False, "ensemble")
    assert "Headlines received" in Path(summary["report"]).read_text()
    for name in ("predictions", "headlines", "with_news", "orders", "pnl", "fees"):
        assert same[name] == summary[name]


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("--news", "NEWS"), 1, "bars expected beside the headlines"),
        (("--data", "DATA", "--instrument", "SIMUSD.SIM"), 1, "headlines expected beside the bars"),
        (("--data", "DATA", "--news", "NEWS", "--instrument", "SIMUSD.SIM"), 1, "times of receipt"),
        (("--data", "DATA", "--news", "nowhere.csv", "--instrument", "SIMUSD.SIM"), 1, "nowhere.csv"),
        (("--news-delay", "soon"), 2, "a duration such as"),
        (("--bars", "100", "--veto-score", "2"), 2, "veto_score above 0 and at most 1"),
    ],
)
def test_errors_are_reported_with_their_cause(
    call: Any, files: tuple[Path, Path], words: tuple[str, ...], status: int, reason: str
) -> None:
    names = {"DATA": str(files[0]), "NEWS": str(files[1])}

    result = call(*(names.get(word, word) for word in words))

    assert result.exit_code == status
    assert result.stdout == ""
    assert reason in " ".join(result.stderr.replace("\u2502", " ").split())
    assert "Traceback" not in result.stderr
