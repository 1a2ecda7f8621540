"""Leaks of the future are found in every feature set that has one, and in no other."""

import re
from collections.abc import Sequence
from dataclasses import replace

import clean_features
import leaking_features
import pytest
from bar_support import market
from clean_features import CLEAN
from leaking_features import LEAKS, MINUTES, LongMemory

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.models.table import TICK
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.leak import LeakReport, find_leaks

SCHEMA = FeatureSchema("one/1", (Column("value", "1"),), window=30)
ONE = f"{__name__}:SCHEMA"


@pytest.fixture(scope="module")
def bars() -> list[Bars]:
    """Minutes that do not open where the last one closed."""
    minutes = market(count=260)
    return [replace(minutes, open=minutes.low)]


@pytest.fixture(scope="module")
def trades() -> list[Trades]:
    return [load(None, trades=1500, seed=1)]


def check(
    data: Sequence[Trades | Bars],
    streaming: str,
    kinds: tuple[str, ...] = (MINUTES,),
    warm_up: int = 0,
    vectorised: str | None = None,
) -> LeakReport:
    features = FeatureSet(data=kinds, schema=ONE, streaming=streaming, warm_up=warm_up, vectorised=vectorised)
    spec = ModelSpec(name="one", features=features, outputs=(Output("up"),))
    return find_leaks(spec, data, other_process=False)


@pytest.mark.parametrize("name", LEAKS)
def test_leak_is_found(name: str, bars: list[Bars], trades: list[Trades]) -> None:
    streaming, kinds = LEAKS[name]
    path = f"{leaking_features.__name__}:{streaming.__name__}"

    report = check(trades if "trades" in kinds else bars, path, kinds, 40, f"{leaking_features.__name__}:{name}")

    assert report.leaks
    assert all(leak.check in ("future", "vectorised") for leak in report.leaks)
    assert all(" row " in leak.sentence for leak in report.leaks)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_features_have_no_leak(
    name: str, bars: list[Bars], trades: list[Trades], monkeypatch: pytest.MonkeyPatch
) -> None:
    streaming, kinds, warm_up, vectorised = CLEAN[name]
    monkeypatch.setattr(clean_features, "Checked", streaming, raising=False)

    data = bars if kinds == (MINUTES,) else trades
    report = check(data, f"{clean_features.__name__}:Checked", kinds, warm_up, vectorised)

    assert report.leaks == ()
    assert report.rows > warm_up
    assert report.comparisons >= 7


def test_warm_up_that_is_not_declared_is_found(bars: list[Bars]) -> None:
    path = f"{leaking_features.__name__}:{LongMemory.__name__}"

    (leak,) = check(bars, path, warm_up=10).leaks

    assert leak.check == "start"
    remedy = re.search(r"a warm_up of (\d+) would do", leak.sentence)
    assert remedy is not None
    assert check(bars, path, warm_up=int(remedy[1])).leaks == ()
    assert check(bars, path, warm_up=int(remedy[1]) - 1).leaks != ()


def test_data_that_give_too_few_rows_are_refused(bars: list[Bars]) -> None:
    with pytest.raises(BadData, match="expected at least 302 rows of features to compare, got 260"):
        check(bars, f"{clean_features.__name__}:Candle", warm_up=300)


def test_models_with_an_actor_of_their_own_are_refused(trades: list[Trades]) -> None:
    with pytest.raises(BadSetting, match="tick: expected features that `FeatureActor` computes"):
        find_leaks(TICK, trades)
