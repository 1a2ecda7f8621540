"""The demo of news: three models behind one server, to the end, and the sentiment model used again."""

import json
from pathlib import Path

import pytest
from news_run import write_backbone, write_sentiment_run

from nautilus_torchserve.serving.server.torchserve import find_server
from support import call_script, run_script


def options(folder: Path) -> list[str]:
    """The demo with all it writes in one folder."""
    names = {"--out": "report", "--run": "run", "--store": "store", "--home": "home", "--sentiment": "sentiment"}
    return [word for flag, name in names.items() for word in (flag, str(folder / name))] + ["--free-ports"]


@pytest.mark.slow
def test_demo_trades_on_news_with_the_sentiment_model_that_is_there(tmp_path: Path) -> None:
    run = write_sentiment_run(tmp_path / "sentiment", write_backbone(tmp_path / "backbone"))
    before = (run / "model.json").read_bytes()

    result = run_script("scripts/demo.py", "news", *options(tmp_path), "--size", "3000", "--json")

    assert result.returncode == 0, result.stderr
    assert f"{run}: a sentiment model is there, and used again" in result.stderr
    assert (run / "model.json").read_bytes() == before
    summary = json.loads(result.stdout)
    assert summary["simulated"]
    assert summary["predictions"] > 200
    assert 0 < summary["with_news"] <= summary["predictions"]
    assert summary["failed"] == 0
    assert "Simulated market" in (tmp_path / "report" / "index.html").read_text()
    assert sorted(path.name for path in (tmp_path / "store").glob("*.mar")) == [
        "ensemble.mar",
        "price.mar",
        "sentiment.mar",
    ]
    assert find_server(tmp_path / "home") is None


def test_headlines_without_bars_end_the_demo_before_anything_is_made(tmp_path: Path) -> None:
    result = call_script("scripts/demo.py", "news", "--news", "news.csv", *options(tmp_path))

    assert result.exit_code == 1
    assert "bars expected beside the headlines" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
