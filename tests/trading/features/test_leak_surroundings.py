"""Features that depend on more than their data are found: shared state, chance, files, the clock, where data begin."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import impure_features
import pandas as pd
import pytest
from bar_support import market
from impure_features import MINUTES, READS, Closes, Reads, surroundings

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.trading.features.leak import LeakReport, find_leaks
from nautilus_torchserve.trading.features.other_process import CHANGES, run_elsewhere

SCHEMA = FeatureSchema("one/1", (Column("value", "1"),), window=30)


@pytest.fixture(scope="module")
def bars() -> list[Bars]:
    return [market(count=260)]


@pytest.fixture(scope="module")
def trades() -> Trades:
    return load(None, trades=1500, seed=1)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that features might read."""
    path = tmp_path / "planted"
    path.write_text("1 2\n3 4\n", encoding="utf-8")
    pd.DataFrame({"value": [1.0]}).to_parquet(f"{path}.parquet")
    monkeypatch.setenv("PLANTED", str(path))
    return path


def check(
    data: list[Bars] | list[Trades], streaming: type, kind: str = MINUTES, warm_up: int = 5, process: bool = False
) -> LeakReport:
    path = f"{impure_features.__name__}:{streaming.__name__}"
    features = FeatureSet(data=(kind,), schema=f"{__name__}:SCHEMA", streaming=path, warm_up=warm_up)
    spec = ModelSpec(name="one", features=features, outputs=(Output("up"),))
    return find_leaks(spec, data, other_process=process)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SharedSinceImport", "repeat"),
        ("SharedSinceConstruction", "repeat"),
        ("RareChance", "repeat"),
        ("Address", "repeat"),
        ("Nanoseconds", "repeat"),
        ("CallersData", "future"),
        ("Expanding", "start"),
        ("EveryTenth", "start"),
    ],
)
def test_dependence_on_more_than_the_data_is_found(name: str, expected: str, bars: list[Bars]) -> None:
    leak = check(bars, getattr(impure_features, name)).leaks[0]

    assert (leak.check, leak.column) == (expected, "value")


@pytest.mark.parametrize("at", [0, 3], ids=["constructed", "third bar"])
@pytest.mark.parametrize("read", READS)
def test_reads_outside_of_the_data_are_found(
    read: Callable[[], None], at: int, bars: list[Bars], planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reads, "read", staticmethod(read), raising=False)
    monkeypatch.setattr(Reads, "at", at, raising=False)

    (leak,) = check(bars, Reads).leaks

    assert leak.check == "outside"
    assert f"({impure_features.__file__}:" in leak.sentence


@pytest.mark.parametrize("kind", ["20-TICK", "2-VOLUME", "100000-VALUE"])
def test_dependence_on_the_beginning_is_found_in_bars_by_events(kind: str, trades: Trades) -> None:
    kind = f"bars:{kind}-LAST-INTERNAL"

    assert [leak.check for leak in check([trades], impure_features.Expanding, kind).leaks] == ["start"]
    assert check([trades], Closes, kind).leaks == ()


def test_leak_about_another_instrument_is_found(trades: Trades) -> None:
    other = replace(trades, instrument=Instrument("ETHUSDT", trades.instrument.venue, 2, 3))

    (leak,) = check([trades, other], impure_features.SecondInstrument, "trades").leaks

    assert leak.sentence.startswith(f"{other.instrument.instrument_id}: ")


def test_instrument_that_trades_in_a_part_of_the_time_is_compared(trades: Trades) -> None:
    other = replace(trades.between(900, 1000), instrument=Instrument("ETHUSDT", trades.instrument.venue, 2, 3))
    kinds = ("trades", f"trades:{other.instrument.instrument_id}")
    path = f"{impure_features.__name__}:Closes"
    features = FeatureSet(data=kinds, schema=f"{__name__}:SCHEMA", streaming=path)
    spec = ModelSpec(name="one", features=features, outputs=(Output("up"),))

    report = find_leaks(spec, [trades, other], other_process=False)

    assert (report.rows, report.leaks) == (1600, ())


def test_pure_features_have_no_leak_in_another_process_either(bars: list[Bars], planted: Path) -> None:
    assert check(bars, impure_features.Pure, process=True).leaks == ()


def test_another_process_has_other_hashes_another_zone_and_another_time() -> None:
    (hashed, seconds, now, today, pandas_now, hour, is_datetime), _ = run_elsewhere(CHANGES, surroundings)

    at = datetime.fromtimestamp(seconds, UTC)
    assert at.timestamp() - time.time() > 100 * 86_400
    assert {abs((datetime.fromisoformat(other) - at).total_seconds()) < 60 for other in (now, pandas_now)} == {True}
    assert abs(datetime.fromisoformat(today).toordinal() - at.toordinal()) <= 1
    assert (hash("volume") == hashed, hour, is_datetime) == (False, 14, True)
