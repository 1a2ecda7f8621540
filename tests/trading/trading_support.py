"""Runs of a strategy on a small market."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FillModel, LatencyModel
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money
from nautilus_trader.model.orders import Order
from small_trades import MS, START

from nautilus_torchserve.trading.prediction import Prediction, prediction_type
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy

SIZE = Decimal("0.010")
ENGINE_OPTIONS = ("order_latency_ns", "submit_rate", "actors")
"""Options of `trade` besides the strategy's own."""


@dataclass(frozen=True)
class Traded:
    """Orders and positions of a strategy's run."""

    orders: list[Order]
    positions_open: int
    strategy: PredictionStrategy

    def sides(self) -> list[tuple[str, Decimal]]:
        """Side and quantity of each order that was sent before the end."""
        return [(order.side.name, order.quantity.as_decimal()) for order in self.orders if order.tags]

    def times_ms(self) -> list[int]:
        """When each of them was sent, in ms of the market's time."""
        return [(order.ts_init - START) // MS for order in self.orders if order.tags]


def trade(
    strategy: PredictionStrategy,
    instrument: Instrument,
    data: Sequence[list[Data]],
    predictions: Sequence[Prediction],
    order_latency_ns: int = 0,
    submit_rate: str = "1000/00:00:01",
    actors: Sequence[Actor] = (),
) -> Traded:
    """Run a strategy in a real engine on predictions fed in as data, actors beside it."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(log_level="ERROR"),
            risk_engine=RiskEngineConfig(max_order_submit_rate=submit_rate),
        )
    )
    try:
        engine.add_venue(
            instrument.id.venue,
            OmsType.NETTING,
            AccountType.MARGIN,
            starting_balances=[Money(100_000, instrument.quote_currency)],
            fill_model=FillModel(prob_slippage=1.0, random_seed=1),
            latency_model=LatencyModel(order_latency_ns) if order_latency_ns else None,
            trade_execution=False,
            bar_execution=False,
        )
        engine.add_instrument(instrument)
        for actor in actors:
            engine.add_actor(actor)
        engine.add_strategy(strategy)
        for item in data:
            engine.add_data(item)
        data_type = prediction_type(instrument.id)
        engine.add_data(
            [CustomData(data_type, prediction) for prediction in predictions], client_id=ClientId("TORCHSERVE")
        )
        engine.run()
        orders = sorted(engine.cache.orders(), key=lambda order: order.ts_init)
        return Traded(orders, len(engine.cache.positions_open()), strategy)
    finally:
        engine.dispose()
