"""Data of one's own class, loaded as commands do: from the catalogs of --data, or from one beside files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.cli.backtest_options import BarSources
from nautilus_torchserve.cli.own_model import load_market
from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.trading.features.custom_events import CustomEvents, load_custom_events
from nautilus_torchserve.trading.features.leak import find_leaks
from nautilus_torchserve.trading.instruments.instruments import trade_ticks

SCHEMA = FeatureSchema("flows/1", (Column("price", "1"), Column("flow", "1")), window=2)
TRADES = load(None, trades=300, seed=2)


@customdataclass
class Flow(Data):
    """Coins that moved to an exchange: what no market data hold."""

    amount: float = 0.0


@customdataclass
class Rate(Data):
    """Another class."""

    value: float = 0.0


class Flows:
    """Price of the last trade, and the newest flow; a flow gives a row of its own."""

    def __init__(self, instrument_ids: Sequence[InstrumentId]) -> None:
        self.price, self.flow = 0.0, 0.0

    def update(self, data: Any) -> list[float] | None:
        if isinstance(data, TradeTick):
            self.price = data.price.as_double()
        else:
            assert type(data) is Flow
            self.flow = data.amount
        return [self.price, self.flow] if self.price else None


class Ahead(Flows):
    """Shares the largest flow among all objects of the class: those of a run before it know the future."""

    largest: ClassVar[list[float]] = [0.0]

    def update(self, data: Any) -> list[float] | None:
        row = super().update(data)
        self.largest[0] = max(self.largest[0], self.flow)
        return None if row is None else [row[0], self.largest[0]]


def spec_with(streaming: str) -> ModelSpec:
    features = FeatureSet(
        data=("trades", f"custom:{__name__}:Flow"),
        schema=f"{__name__}:SCHEMA",
        streaming=f"{__name__}:{streaming}",
        warm_up=40,
    )
    return ModelSpec(name="flows", features=features, outputs=(Output("up"), Output("down")))


FLOWS, AHEAD = spec_with("Flows"), spec_with("Ahead")


def flows() -> list[Flow]:
    """One flow with every tenth trade, and one before and after all trades."""
    times = TRADES.ts_init[::10].tolist()
    times = [times[0] - 10**9, *times, int(TRADES.ts_init[-1]) + 10**9]
    return [Flow(time - 5, time, amount=(number * 7 % 11 + number) / 3) for number, time in enumerate(times)]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A catalog of trades and of flows."""
    stored = ParquetDataCatalog(tmp_path / "catalog")
    stored.write_data(trade_ticks(TRADES))
    stored.write_data(flows())
    return tmp_path / "catalog"


def test_commands_take_custom_data_from_the_catalog_of_the_data(catalog: Path) -> None:
    data = load_market(f"{__name__}:FLOWS", BarSources(data=[catalog]), 0, 0)

    from_memory = feature_arrays(FLOWS, [TRADES, CustomEvents(Flow, flows())])

    assert feature_arrays(FLOWS, data).inputs.tobytes() == from_memory.inputs.tobytes()
    assert len(from_memory) == 300 + 30 - 40  # no row before the first trade, and none after the last one
    assert from_memory.inputs[-1, 1] == pytest.approx(flows()[-2].amount)
    columns = [leak.column for leak in find_leaks(AHEAD, data).leaks]
    assert "flow" in columns


def test_commands_take_custom_data_from_a_catalog_beside_files(catalog: Path) -> None:
    data = load_market(f"{__name__}:FLOWS", BarSources(), 100, 2, custom=catalog)

    assert [type(item).__name__ for item in data] == ["Trades", "CustomEvents"]
    with pytest.raises(
        typer.BadParameter, match=r"expected --custom, a NautilusTrader catalog with Flow, which .*:FLOWS"
    ):
        load_market(f"{__name__}:FLOWS", BarSources(), 100, 2)


def test_custom_data_of_several_catalogs_are_all_used(tmp_path: Path) -> None:
    for name, part in (("late", flows()[15:]), ("early", flows()[:15])):
        ParquetDataCatalog(tmp_path / name).write_data(part)

    both = load_custom_events(Flow, tmp_path / "late", tmp_path / "early")

    assert both.ts_init.tolist() == [flow.ts_init for flow in flows()]


def test_custom_data_that_cannot_be_used_are_refused(catalog: Path) -> None:
    with pytest.raises(BadData, match="catalog: expected a NautilusTrader catalog with Rate, got none"):
        load_custom_events(Rate, catalog)
    with pytest.raises(BadData, match=r"datum 1: expected ts_event above 0, .* got ts_event 2, ts_init 1"):
        CustomEvents(Flow, [Flow(2, 1)])
    with pytest.raises(BadData, match=r"datum 1: expected ts_event above 0, .* got ts_event 0, ts_init 0"):
        CustomEvents(Flow, [Flow(0, 0)])
    with pytest.raises(BadData, match="expected a Flow, got a Rate"):
        CustomEvents(Flow, [Rate(1, 1)])
    series = CustomEvents(Flow, [Flow(1, 1)])
    with pytest.raises(BadData, match="expected custom data of different classes, got Flow, Flow"):
        feature_arrays(FLOWS, [TRADES, series, series])
    with pytest.raises(BadData, match="expected market data of at least 1 instrument, got none"):
        feature_arrays(FLOWS, [series])


def test_a_catalog_whose_data_are_no_longer_of_the_class_is_refused(catalog: Path) -> None:
    (catalog / "data/custom_flow").rename(catalog / "data/custom_rate")

    with pytest.raises(BadData, match=r"catalog: expected Rate, registered .*, got unreadable data: TypeError"):
        load_custom_events(Rate, catalog)
