"""A strategy of your own on predictions: long while BUY is likelier than SELL by a margin, else flat.

python examples/own_strategy.py mar:archives/tick.mar
"""

import sys
from decimal import Decimal

from market import INSTRUMENT, random_trades
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.objects import Money

from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig
from nautilus_torchserve.trading.tick.actor import InferenceActor, InferenceActorConfig
from nautilus_torchserve.wire.output_constraints import PROBABILITY, OutputConstraints


class LongOnlyConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration for `LongOnly`: that of `PredictionStrategyConfig`, and this.

    Parameters
    ----------
    margin : float
        The minimum difference of the BUY and SELL probabilities to be long.
    """

    margin: float = 0.02


class LongOnly(PredictionStrategy):
    """Holds ``trade_size`` while BUY leads SELL by the margin; the base class handles ages, failures and limits."""

    required = OutputConstraints({"buy": PROBABILITY, "sell": PROBABILITY})

    def act_on(self, prediction: Prediction) -> str:
        position = self.portfolio.net_position(self.config.instrument_id)
        is_rising = prediction.outputs["buy"] - prediction.outputs["sell"] >= self.config.margin
        if is_rising and position == 0:
            return self.order(OrderSide.BUY, self.config.trade_size, prediction)
        if not is_rising and position > 0:
            return self.order(OrderSide.SELL, position, prediction)
        return "no change"


def main(url: str) -> None:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(log_level="ERROR")))
    engine.add_venue(INSTRUMENT.id.venue, OmsType.NETTING, AccountType.MARGIN, starting_balances=[Money(10_000, USDT)])
    engine.add_instrument(INSTRUMENT)
    engine.add_data(random_trades(600))
    engine.add_actor(InferenceActor(InferenceActorConfig(instrument_id=INSTRUMENT.id, url=url)))
    strategy = LongOnly(LongOnlyConfig(instrument_id=INSTRUMENT.id, trade_size=Decimal("0.010")))
    engine.add_strategy(strategy)

    engine.run()

    print(f"{len(engine.cache.orders())} orders, {strategy.invalid_predictions} invalid predictions")
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
