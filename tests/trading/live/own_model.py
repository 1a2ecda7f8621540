"""A model of a user's own for live runs: windows of two columns, from trades, quotes or bars."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.model.data import Bar, QuoteTick
from nautilus_trader.model.enums import OrderSide

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig

STEPS, WARM_UP = 4, 6
SCHEMA = FeatureSchema("own/1", (Column("move", "bps"), Column("mean", "bps")), window=STEPS + 1, time_steps=STEPS)


class Features:
    """Move from the event before, and its mean that never quite forgets: rows depend on all data before them."""

    def __init__(self, instrument_ids: list[Any]) -> None:
        self.price: float | None = None
        self.mean = 0.0

    def update(self, data: Any) -> tuple[float, float] | None:
        if isinstance(data, Bar):
            price = data.close.as_double()
        else:
            price = (data.bid_price if isinstance(data, QuoteTick) else data.price).as_double()
        before, self.price = self.price, price
        if before is None:
            return None
        move = 1e4 * (price / before - 1.0)
        self.mean += (move - self.mean) / 8.0
        return move, self.mean


def rounded(update: Callable[[Features, Any], tuple[float, float] | None]) -> Callable[[Features, Any], Any]:
    """Features whose second column is cut to four decimals."""

    def cut(features: Features, data: Any) -> tuple[float, float] | None:
        row = update(features, data)
        return row if row is None else (row[0], round(row[1], 4))

    return cut


class BarFeatures(Features):
    """The same of the bars that NautilusTrader aggregates; trades are counted into the mean."""

    def update(self, data: Any) -> tuple[float, float] | None:
        if isinstance(data, Bar):
            return super().update(data)
        self.mean += data.size.as_double() / 1024.0
        return None


TRADES = ModelSpec(
    name="own",
    features=FeatureSet(("trades",), f"{__name__}:SCHEMA", f"{__name__}:Features", warm_up=WARM_UP),
    outputs=(Output("up"), Output("down")),
    activation="softmax",
)
QUOTES = replace(TRADES, features=replace(TRADES.features, data=("quotes",)))
BARS = replace(TRADES, features=replace(TRADES.features, data=("bars:1-MINUTE-LAST-EXTERNAL",)))
INTERNAL = replace(
    TRADES,
    features=replace(
        TRADES.features, data=("trades", "bars:10-SECOND-LAST-INTERNAL"), streaming=f"{__name__}:BarFeatures"
    ),
)


class AlternatingConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration of `Alternating`."""


class Alternating(PredictionStrategy):
    """Long after one prediction, flat after the next."""

    def act_on(self, prediction: Prediction) -> str:
        held = self.portfolio.net_position(self.config.instrument_id)
        side, size = (OrderSide.SELL, held) if held > Decimal(0) else (OrderSide.BUY, self.config.trade_size)
        return self.order(side, size, prediction)


def write_program(path: Path) -> Path:
    """Write the network as a TorchScript file."""
    import torch

    torch.manual_seed(7)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * STEPS, 2))
    torch.jit.trace(network, torch.zeros(1, STEPS, 2)).save(str(path))
    return path
