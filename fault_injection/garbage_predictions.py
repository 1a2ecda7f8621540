"""Predictions that no model makes, published to a strategy in a real engine: none may become an order."""

from decimal import Decimal
from random import Random

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import CustomData
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.objects import Money

from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.prediction import Prediction, prediction_type
from strategies.tick_strategy import TickStrategy, TickStrategyConfig

_MS, _START = 1_000_000, 1_700_000_000_000_000_000
_NAN, _INF = float("nan"), float("inf")
_GOOD = {"buy": 0.8, "sell": 0.1, "hold": 0.1}
_ODD = (_NAN, _INF, -_INF, -0.01, 1.0001, 2.0, -1e30, 1e300)


def garbage_outputs(random: Random) -> dict[str, float]:
    """Return outputs that are no probabilities of buy, sell and hold."""
    chance, name = random.random(), random.choice(tuple(_GOOD))
    if chance < 0.4:
        return {**_GOOD, name: random.choice(_ODD)}
    if chance < 0.6:
        value = random.choice((*_ODD, 0.0, 1.0, 0.5))
        return dict.fromkeys(_GOOD, value)
    if chance < 0.8:
        return {**_GOOD, name: _GOOD[name] + random.choice((0.05, 0.2, -0.09))}
    return {output: value for output, value in _GOOD.items() if output != name}


def count_orders(outputs: list[dict[str, float]]) -> int:
    """Run the tick strategy on a small market and these outputs, one every 10 ms; return the number of its orders."""
    market = _market(len(outputs))
    instrument = perpetual(market.instrument, fee_bps=0.0)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    try:
        engine.add_venue(
            instrument.id.venue,
            OmsType.NETTING,
            AccountType.MARGIN,
            starting_balances=[Money(100_000, instrument.quote_currency)],
            trade_execution=False,
            bar_execution=False,
        )
        engine.add_instrument(instrument)
        engine.add_strategy(
            TickStrategy(
                TickStrategyConfig(
                    instrument_id=instrument.id,
                    trade_size=Decimal("0.010"),
                    min_probability=0.34,
                    cooldown_ns=0,
                    close_on_stop=False,
                )
            )
        )
        for data in (trade_ticks(market), quote_ticks(market)):
            engine.add_data(data)
        predictions = [
            Prediction(
                ts_event=_START + number * 10 * _MS,
                ts_init=_START + number * 10 * _MS + _MS,
                instrument_id=instrument.id,
                model="tick",
                version="1.0",
                archive_digest="0" * 16,
                outputs=values,
                feature_ts=_START + number * 10 * _MS,
                latency_ns=100_000,
            )
            for number, values in enumerate(outputs)
        ]
        data_type = prediction_type(instrument.id)
        engine.add_data(
            [CustomData(data_type, prediction) for prediction in predictions], client_id=ClientId("TORCHSERVE")
        )
        engine.run()
        return len(engine.cache.orders())
    finally:
        engine.dispose()


def attack_strategy(seed: int, count: int) -> int:
    """Return the number of orders on ``count`` garbage predictions.

    Raises
    ------
    RuntimeError
        The strategy does not trade on good predictions.
    """
    if not count_orders([_GOOD] * 3):
        raise RuntimeError("expected an order on a good prediction, got none: the attack shows nothing")
    random = Random(f"predictions {seed}")
    return count_orders([garbage_outputs(random) for _ in range(count)])


def _market(predictions: int) -> Trades:
    """Return a trade every 10 ms, for a second longer than the predictions."""
    number = predictions + 100
    ts = _START + np.arange(number, dtype=np.int64) * 10 * _MS
    return Trades(
        instrument=Instrument("BTCUSDT", "BINANCE", 2, 3),
        source="small market",
        simulated=True,
        ts_event=ts,
        ts_init=ts,
        price=5_000_000 + np.arange(number) % 7,
        size=np.full(number, 1_000),
        side=np.where(np.arange(number) % 2, 1, -1).astype(np.int8),
        trade_id=np.arange(number).astype(str),
    )
