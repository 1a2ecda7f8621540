"""Orders above the largest value are denied on margin, too; those that only close are not."""

from decimal import Decimal

import numpy as np
import pytest
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.data import CustomData
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.objects import Money

from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.live.risk.order_limits import OrderLimits
from nautilus_torchserve.trading.prediction import Prediction, prediction_type
from strategies.tick_strategy import TickStrategy, TickStrategyConfig

S = 10**9
START = 1_700_049_600 * S


def statuses(most: int | None, own_limits: bool = True) -> list[tuple[str, Decimal, str]]:
    """Buy 1 BTC at 50,000 USDT, sell 2, and close at the end; return side, quantity and status of each order."""
    ts = START + np.arange(20, dtype=np.int64) * S
    trades = Trades(
        instrument=Instrument("BTCUSDT", "BINANCE", 2, 3), source="still market", simulated=True,
        ts_event=ts, ts_init=ts, price=np.full(20, 5_000_000), size=np.full(20, 10_000),
        side=np.tile(np.array([1, -1], dtype=np.int8), 10), trade_id=np.arange(20).astype(str),
    )  # fmt: skip
    instrument = perpetual(trades.instrument, fee_bps=1.0)
    limits = {} if most is None else {instrument.id: Decimal(most)}
    engine_limits = {} if own_limits else {str(instrument.id): most}
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(log_level="OFF"), risk_engine=RiskEngineConfig(max_notional_per_order=engine_limits)
        )
    )
    try:
        engine.add_venue(
            instrument.id.venue, OmsType.NETTING, AccountType.MARGIN, trade_execution=False,
            starting_balances=[Money(1_000_000, instrument.quote_currency)],
        )  # fmt: skip
        engine.add_instrument(instrument)
        if own_limits:
            OrderLimits(engine.kernel, limits)
        engine.add_strategy(TickStrategy(TickStrategyConfig(instrument_id=instrument.id, trade_size=Decimal(1))))
        engine.add_data(trade_ticks(trades))
        engine.add_data(quote_ticks(trades))
        predictions = [
            Prediction(
                ts_event=START + at * S, ts_init=START + at * S, instrument_id=instrument.id, model="tick",
                version="1.0", archive_digest="", outputs={"buy": buy, "sell": 1 - buy, "hold": 0.0},
                feature_ts=START + at * S, latency_ns=0,
            )
            for at, buy in ((2, 0.9), (10, 0.1))
        ]  # fmt: skip
        engine.add_data(
            [CustomData(prediction_type(instrument.id), prediction) for prediction in predictions],
            client_id=ClientId("TORCHSERVE"),
        )
        engine.run()
        orders = sorted(engine.cache.orders(), key=lambda order: order.ts_init)
        return [(order.side.name, order.quantity.as_decimal(), order.status_string()) for order in orders]
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (None, [("BUY", 1, "FILLED"), ("SELL", 2, "FILLED"), ("BUY", 1, "FILLED")]),
        (100_001, [("BUY", 1, "FILLED"), ("SELL", 2, "FILLED"), ("BUY", 1, "FILLED")]),
        (60_000, [("BUY", 1, "FILLED"), ("SELL", 2, "DENIED"), ("SELL", 1, "FILLED")]),
        (49_000, [("BUY", 1, "DENIED"), ("SELL", 1, "DENIED")]),
    ],
)
def test_orders_above_the_limit_are_denied(most: int | None, expected: list[tuple[str, int, str]]) -> None:
    assert statuses(most) == expected


def test_nautilus_traders_own_limit_is_ignored_on_margin() -> None:
    assert statuses(49_000, own_limits=False) == statuses(None)  # once this fails, `OrderLimits` is no longer needed
