"""A backtest in your own `BacktestEngineConfig`: the inference actor and the tick strategy beside your components.

python examples/own_backtest.py mar:archives/tick.mar
python examples/own_backtest.py http://127.0.0.1:8080     # with the token in TORCHSERVE_TOKEN
"""

import sys

from market import INSTRUMENT, random_trades
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common.config import ImportableActorConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.objects import Money
from nautilus_trader.trading.config import ImportableStrategyConfig


def main(url: str) -> None:
    actor = ImportableActorConfig(
        actor_path="nautilus_torchserve.trading.tick.actor:InferenceActor",
        config_path="nautilus_torchserve.trading.tick.actor:InferenceActorConfig",
        config={"instrument_id": INSTRUMENT.id.value, "url": url, "latency_ns": 2_000_000},
    )
    strategy = ImportableStrategyConfig(
        strategy_path="strategies.tick_strategy:TickStrategy",
        config_path="strategies.tick_strategy:TickStrategyConfig",
        config={"instrument_id": INSTRUMENT.id.value, "trade_size": "0.010", "min_probability": 0.36},
    )
    engine = BacktestEngine(
        BacktestEngineConfig(actors=[actor], strategies=[strategy], logging=LoggingConfig(log_level="ERROR"))
    )
    engine.add_venue(INSTRUMENT.id.venue, OmsType.NETTING, AccountType.MARGIN, starting_balances=[Money(10_000, USDT)])
    engine.add_instrument(INSTRUMENT)
    engine.add_data(random_trades(600))

    engine.run()

    orders = engine.cache.orders()
    print(f"{len(orders)} orders, total P&L {engine.portfolio.total_pnls(INSTRUMENT.id.venue)}")
    print(f"tags of the first: {orders[0].tags}")
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
