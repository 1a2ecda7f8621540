"""Features of data of one's own class, from a catalog or a list: backtests in both modes, training and leak agree."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import typer
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from test_feature_backtest import settings_for

from nautilus_torchserve.cli.backtest_options import BarSources
from nautilus_torchserve.cli.own_model import load_market
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.trading.features.custom_data import CustomSeries, load_custom
from nautilus_torchserve.trading.features.leak import find_leaks
from nautilus_torchserve.trading.instruments.instruments import trade_ticks


@customdataclass
class Flow(Data):
    """Coins that moved to an exchange: what no market data hold."""

    amount: float = 0.0


@customdataclass
class Rate(Data):
    """Another class."""

    value: float = 0.0


class Flows:
    """Move of the last trade, and the newest flow; a flow is a row of its own, too."""

    def __init__(self, instrument_ids: Sequence[InstrumentId]) -> None:
        self.price, self.move, self.flow = 0.0, 0.0, 0.0

    def update(self, data: Any) -> list[float] | None:
        if isinstance(data, TradeTick):
            before, self.price = self.price, data.price.as_double()
            self.move = 1e4 * (self.price / before - 1) if before else 0.0
        else:
            assert type(data) is Flow
            self.flow = data.amount
        return [self.move, self.flow] if self.price else None


class Ahead(Flows):
    """Shares a flow among all objects of the class: those of a run before it know the future."""

    newest: ClassVar[list[float]] = [0.0]

    def update(self, data: Any) -> list[float] | None:
        row = super().update(data)
        if isinstance(data, Flow):
            self.newest[0] = max(self.newest[0], data.amount)
        return None if row is None else [row[0], self.newest[0]]


def spec_with(streaming: str, *data: str) -> ModelSpec:
    features = FeatureSet(
        data=data, schema="test_feature_backtest:SCHEMA", streaming=f"{__name__}:{streaming}", warm_up=40
    )
    return ModelSpec(name="moves", features=features, outputs=(Output("up"), Output("down")), activation="softmax")


FLOWS = spec_with("Flows", "trades", f"custom:{__name__}:Flow")
AHEAD = spec_with("Ahead", "trades", f"custom:{__name__}:Flow")


def flows_within(trades: Trades) -> list[Flow]:
    """One flow every ten trades, half of them at a trade's own time, and one before and after all trades."""
    times = [*(trades.ts_init[::10] + np.arange(len(trades.ts_init[::10])) % 2).tolist()]
    times = [int(trades.ts_init[0]) - 10**9, *times, int(trades.ts_init[-1]) + 10**9]
    return [Flow(time - 5, time, amount=(number * 7 % 11 - 5) / 3) for number, time in enumerate(times)]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A catalog of trades and of flows."""
    trades = load(None, trades=300, seed=2)
    stored = ParquetDataCatalog(tmp_path / "catalog")
    stored.write_data(trade_ticks(trades))
    stored.write_data(flows_within(trades))
    return tmp_path / "catalog"


def test_backtests_in_both_modes_training_and_leak_have_the_same_custom_data(
    moves_archive: Path,
    catalog: Path,
) -> None:
    data = load_market(f"{__name__}:FLOWS", BarSources(data=[catalog]), 0, 0)
    settings = replace(settings_for(moves_archive, "TRADES"), spec=f"{__name__}:FLOWS")

    inline, prefetched = (run_backtest(data, replace(settings, mode=mode)) for mode in ("inline", "prefetch"))
    arrays = feature_arrays(FLOWS, data)

    pd.testing.assert_frame_equal(prefetched.fills, inline.fills, check_exact=True)
    predictions = inline.predictions
    columns = [name for name in predictions if name != "latency_ns"]
    pd.testing.assert_frame_equal(prefetched.predictions[columns], predictions[columns], check_exact=True)
    assert arrays.ts_event[: len(predictions)].tolist() == predictions["ts_event"].tolist()
    logits = torch_logits(arrays.inputs[: len(predictions)])
    np.testing.assert_allclose(predictions["up"], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    assert len(predictions) + inline.not_arrived == len(arrays) == 300 + 30 - 40  # none after the last trade
    assert len(inline.fills) > 20
    assert find_leaks(FLOWS, data).leaks == ()


def torch_logits(inputs: np.ndarray) -> np.ndarray:
    """What the archive's program computes, UP less DOWN."""
    return inputs[:, 0].astype(float) + 0.5 * inputs[:, 1]


def test_a_list_of_objects_is_used_as_a_catalog_is(catalog: Path) -> None:
    trades, stored = load_market(f"{__name__}:FLOWS", BarSources(data=[catalog]), 0, 0)
    shuffled = CustomSeries(Flow, tuple(reversed(flows_within(trades))), "flows")

    rows = [feature_arrays(FLOWS, [trades, series]).inputs.tobytes() for series in (stored, shuffled)]

    assert rows[0] == rows[1]


def test_leak_finds_custom_data_of_the_future(catalog: Path) -> None:
    data = load_market(f"{__name__}:AHEAD", BarSources(data=[catalog]), 0, 0)

    leaks = find_leaks(AHEAD, data).leaks

    assert [leak.column for leak in leaks] == ["other"] * len(leaks) != []


def test_custom_data_come_from_a_catalog_beside_files(catalog: Path, tmp_path: Path) -> None:
    sources = BarSources(data=None)

    data = load_market(f"{__name__}:FLOWS", sources, 100, 2, custom=[catalog])

    assert [type(item).__name__ for item in data] == ["Trades", "CustomSeries"]
    with pytest.raises(typer.BadParameter, match=r"expected data of Flow, which .* takes, got none: .* by --custom"):
        load_market(f"{__name__}:FLOWS", sources, 100, 2)


def test_custom_data_that_are_not_there_or_not_possible_are_refused(
    moves_archive: Path,
    catalog: Path,
) -> None:
    trades = load(None, trades=60, seed=2)
    with pytest.raises(BadData, match=r"expected a NautilusTrader catalog with data of Rate \(data/custom_rate\), got"):
        load_custom([catalog], Rate)
    with pytest.raises(BadData, match="expected data of Flow, which its features are computed from, got trades"):
        run_backtest([trades], replace(settings_for(moves_archive, "TRADES"), spec=f"{__name__}:FLOWS"))
    with pytest.raises(BadData, match=r"not before it .*, got ts_event 2 and ts_init 1 at 0"):
        CustomSeries(Flow, (Flow(2, 1),), "flows")
    with pytest.raises(BadData, match="flows: expected data of Flow, got Rate at 0"):
        CustomSeries(Flow, (Rate(1, 1),), "flows")
    series = CustomSeries(Flow, (Flow(1, 1),), "flows")
    with pytest.raises(BadData, match="expected custom data of different classes, got Flow, Flow"):
        feature_arrays(FLOWS, [trades, series, series])
    with pytest.raises(BadData, match="expected market data of at least 1 instrument, got none"):
        feature_arrays(FLOWS, [series])


def test_a_catalog_whose_data_are_no_longer_of_the_class_is_refused(catalog: Path) -> None:
    (catalog / "data/custom_flow").rename(catalog / "data/custom_rate")

    with pytest.raises(BadData, match=r"catalog/data/custom_rate: cannot be read as .*:Rate: TypeError"):
        load_custom([catalog], Rate)
