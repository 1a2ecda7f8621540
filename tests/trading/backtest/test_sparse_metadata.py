"""Backtests on archives with sparse metadata: refused before the run, or run without the missing fields."""

import json
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from bar_support import market as bar_market
from misbehaving_server import METADATA

from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.report import summary, write_reports
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.wire.errors import IncompleteMetadata, SchemaMismatch

MINUTE = 60 * 10**9
FACTS = ("training", "fits", "label", "metrics", "git_commit", "seed", "scaler", "torch")


def without(archive: Path, to: Path, *names: str) -> str:
    """The URL of a copy of an archive whose description lacks some facts."""
    with ZipFile(archive) as old, ZipFile(to / archive.name, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "model.json":
                data = json.dumps({key: fact for key, fact in json.loads(data).items() if key not in names}).encode()
            new.writestr(name, data)
    return f"mar:{to / archive.name}"


def test_a_tick_archive_that_says_nothing_of_its_fit(tick_archive: Path, small_market: Trades, tmp_path: Path) -> None:
    settings = BacktestSettings(url=without(tick_archive, tmp_path, *FACTS))

    result = run_backtest(small_market, settings)
    page = write_reports(settings, result, tmp_path / "report").read_text()

    numbers = summary(settings, result)
    assert numbers["in_sample"] == "unknown"
    assert numbers["trades"] == len(small_market)
    assert numbers["predictions"] > 50
    assert page.index("NOT KNOWN WHETHER IN SAMPLE") < page.index("Starting balance")
    assert "so no prediction is scored" in page
    assert "unknown (not recorded in the archive)" in page


def test_outcomes_are_not_kept_of_a_model_whose_label_is_unknown(tmp_path: Path) -> None:
    settings = BacktestSettings(url="http://127.0.0.1:1", traffic=f"sqlite:///{tmp_path}/traffic.db")
    metadata = ModelMetadata.from_dict(METADATA | {"model": "tick", "label": {"horizon": 3}})

    with pytest.raises(IncompleteMetadata, match=r"tick 1\.0: expected label\.cost_bps in its .* leave --traffic out"):
        settings.recorder([], metadata)


def test_a_bar_archive_without_a_label_needs_a_horizon(price_archive: Path, tmp_path: Path) -> None:
    bars = [bar_market("BTCUSDT", 200)]
    settings = BarBacktestSettings(url=without(price_archive, tmp_path, *FACTS), min_confidence=0.5)

    with pytest.raises(IncompleteMetadata, match=r"expected label\.horizon_bars in its .*, give it with --horizon"):
        run_backtest(bars, settings)
    settings = replace(settings, horizon_ns=MINUTE)
    result = run_backtest(bars, settings)

    assert summary(settings, result)["instruments"][0]["in_sample"] == "unknown"
    assert "NOT KNOWN WHETHER IN SAMPLE" in write_reports(settings, result, tmp_path / "report").read_text()


def test_a_bar_archive_that_does_not_say_which_bars_is_refused(price_archive: Path, tmp_path: Path) -> None:
    settings = BarBacktestSettings(url=without(price_archive, tmp_path, "bars"))

    with pytest.raises(SchemaMismatch, match="a model trained on features"):
        run_backtest([bar_market("BTCUSDT", 200)], settings)
