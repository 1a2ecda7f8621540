"""A backtest of the tick strategy on predictions made for the test, with actors that listen."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.data import CustomData
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money
from small_trades import MS, START, small_market

from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.inference.messages import InferenceCall, PredictionRequest, RequestOutcome, calls_topic
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.live.paper import OneStepWorse
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_type
from strategies.tick_strategy import TickStrategy, TickStrategyConfig

SIZE = Decimal("0.010")
DIGEST = "0123456789abcdef"


def prediction_on(number: int, buy: float, sell: float, instrument: Instrument, **changes: Any) -> Prediction:
    """Return a prediction on trade ``number``, received 4 ms after it."""
    ts = START + 100 * MS * number
    fields = {
        "ts_event": ts,
        "ts_init": ts + 4 * MS,
        "instrument_id": instrument.id,
        "model": "tick",
        "version": "1.0",
        "archive_digest": DIGEST,
        "feature_ts": ts,
        "latency_ns": 3 * MS,
        "number": number,
        "outputs": {"buy": float(np.float32(buy)), "sell": float(np.float32(sell)), "hold": 1 - buy - sell},
    }
    return Prediction(**{**fields, **changes})


def call_of(prediction: Prediction) -> InferenceCall:
    """Return the call that led to a prediction, as a live actor publishes it; a DEGRADED one got no response."""
    answered = prediction.status == Status.OK
    features = vars(prediction).get("sent_features", np.array([prediction.number, 0.5, 0.25, 0.125], np.float32))
    request = PredictionRequest(
        prediction.instrument_id,
        vars(prediction).get("question", prediction.number),
        prediction.ts_event,
        prediction.ts_event,
        features,
    )
    return InferenceCall(
        model="tick",
        url="http://127.0.0.1:8080",
        version=prediction.version if answered else "",
        digest=prediction.archive_digest if answered else "",
        sent_ns=prediction.ts_event + MS // 2,
        ended_ns=prediction.ts_init,
        latency_ns=prediction.latency_ns,
        error="" if answered else "NoConnection: refused",
        requests=(request,),
        outcomes=(RequestOutcome.ANSWERED if answered else RequestOutcome.FAILED,),
        outputs={name: np.array([value], np.float32) for name, value in prediction.outputs.items()} if answered else {},
    )


@contextmanager
def audited_run(
    predict: Callable[[Instrument], Sequence[Prediction]],
    actors: Callable[[Instrument], Sequence[Actor]],
    *,
    market: Trades | None = None,
    order_latency_ns: int = 0,
    submit_rate: str = "1000/00:00:01",
    **options: Any,
) -> Iterator[BacktestEngine]:
    """Yield an engine that has run; dispose of it and its actors afterwards."""
    trades = market or small_market()
    instrument = perpetual(trades.instrument, fee_bps=1.0)
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(log_level="ERROR"), risk_engine=RiskEngineConfig(max_order_submit_rate=submit_rate)
        )
    )
    try:
        engine.add_venue(
            instrument.id.venue,
            OmsType.NETTING,
            AccountType.MARGIN,
            starting_balances=[Money(100_000, instrument.quote_currency)],
            fill_model=OneStepWorse(),
            latency_model=LatencyModel(order_latency_ns) if order_latency_ns else None,
            trade_execution=False,
            bar_execution=False,
        )
        engine.add_instrument(instrument)
        for actor in actors(instrument):
            engine.add_actor(actor)
        engine.add_strategy(TickStrategy(strategy_config(instrument, **options)))
        engine.add_data(trade_ticks(trades))
        engine.add_data(quote_ticks(trades))
        data_type, bus = prediction_type(instrument.id), engine.kernel.msgbus
        bus.subscribe(  # before the strategies receive it
            topic=f"data.{data_type.topic}",
            handler=lambda prediction: bus.publish(topic=calls_topic("tick"), msg=call_of(prediction)),
            priority=10,
        )
        predictions = [CustomData(data_type, prediction) for prediction in predict(instrument)]
        engine.add_data(predictions, client_id=ClientId("TORCHSERVE"))
        engine.run()
        yield engine
    finally:
        engine.dispose()


def strategy_config(instrument: Instrument, **options: Any) -> TickStrategyConfig:
    """Return the config of the strategy in an `audited_run`."""
    return TickStrategyConfig(**{"instrument_id": instrument.id, "trade_size": SIZE, "cooldown_ns": 0, **options})
