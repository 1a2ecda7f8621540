"""Setup of NautilusTrader's backtest engine, shared by all backtests.

A trade reaches a strategy at ``ts_init``, but it moved the market at ``ts_event``. NautilusTrader's simulated exchange
moves its book with the data, so at ``ts_init``: with a slow feed an order would be filled at quotes that the venue no
longer shows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TypeVar

import numpy as np
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
    ImportableFillModelConfig,
)
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import Clock, MessageBus
from nautilus_trader.common.config import ActorConfig, ImportableActorConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder
from nautilus_trader.model.enums import BookType, OrderSide, OrderType
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION, Money, Price, Quantity
from nautilus_trader.model.orders import Order
from nautilus_trader.trading.config import ImportableStrategyConfig, StrategyConfig

from nautilus_torchserve.market.trades.trades import Trades, implied_quotes
from nautilus_torchserve.trading.backtest.ledger import account_currency
from nautilus_torchserve.trading.backtest.simulated_time import watch_fills
from nautilus_torchserve.trading.instruments.conform import tick_steps
from nautilus_torchserve.trading.instruments.currencies import precise_currencies, with_registered_currencies

A = TypeVar("A", bound=Actor)
PROGRESS_EVERY = 64
"""Events between two calls of ``on_progress``."""


def importable_actor(config: ActorConfig) -> ImportableActorConfig:
    """Return the actor in the form that a `BacktestEngineConfig` takes."""
    actor_path, config_path = _paths(config)
    return ImportableActorConfig(actor_path=actor_path, config_path=config_path, config=config.json_primitives())


def importable_strategy(config: StrategyConfig) -> ImportableStrategyConfig:
    """Return the strategy in the form that a `BacktestEngineConfig` takes."""
    strategy_path, config_path = _paths(config)
    return ImportableStrategyConfig(
        strategy_path=strategy_path, config_path=config_path, config=config.json_primitives()
    )


def _paths(config: ActorConfig | StrategyConfig) -> tuple[str, str]:
    """Return the paths of a component and its config: one module, the config's name ends with ``Config``."""
    module, name = type(config).__module__, type(config).__name__
    return f"{module}:{name.removesuffix('Config')}", f"{module}:{name}"


def run_config(
    instruments: Sequence[Instrument],
    actor: ImportableActorConfig | None,
    strategies: Sequence[ImportableStrategyConfig],
    data: Sequence[BacktestDataConfig],
    balance: Decimal,
) -> BacktestRunConfig:
    """Return one run, as `BacktestNode` takes it.

    Parameters
    ----------
    instruments : sequence of Instrument
        Instruments to trade; each venue among them gets an account of its own.
    actor : ImportableActorConfig, optional
        Actor that requests predictions; None where they are prefetched.
    data : sequence of BacktestDataConfig
        In the order in which data of one time are handled.
    balance : Decimal
        Each account at the start, in the currency that its instruments are settled in.
    """
    venues = {instrument.id.venue.value: account_currency(instrument).code for instrument in instruments}
    return BacktestRunConfig(
        engine=BacktestEngineConfig(
            actors=[] if actor is None else [actor],
            strategies=list(strategies),
            logging=LoggingConfig(log_level="ERROR"),  # to stderr; anything below goes to stdout
            risk_engine=RiskEngineConfig(max_order_submit_rate="1000000/00:00:01"),
        ),
        venues=[_venue(venue, currency, balance) for venue, currency in venues.items()],
        data=list(data),
        raise_exception=True,
        dispose_on_completion=False,
    )


def _venue(venue: str, currency: str, balance: Decimal) -> BacktestVenueConfig:
    """Return a venue whose market orders fill at the opposite quote and one step worse, beyond its size two.

    A trade sets bid and ask to its price even with ``trade_execution=False``; the quote that follows it at
    the same time sets them right, before any prediction on that trade can arrive. Bars do not touch them.

    There is no latency model: the actor's latency delays the prediction, and so the order.
    """
    return BacktestVenueConfig(
        name=venue,
        oms_type="NETTING",
        account_type="MARGIN",
        base_currency=None,
        starting_balances=[f"{balance:f} {currency}"],
        book_type="L1_MBP",
        trade_execution=False,
        bar_execution=False,
        fill_model=ImportableFillModelConfig(
            fill_model_path="nautilus_trader.backtest.models:FillModel",
            config_path="nautilus_trader.backtest.config:FillModelConfig",
            config={"prob_slippage": 1.0, "random_seed": 1},
        ),
        latency_model=None,
    )


@contextmanager
def built(
    config: BacktestRunConfig, instruments: Sequence[Instrument], trades: Trades | None = None
) -> Iterator[tuple[BacktestNode, BacktestEngine]]:
    """Yield the node and its engine, ready to run, and dispose of them afterwards.

    Parameters
    ----------
    instruments : sequence of Instrument
        What is traded: until the end, money in their settlement currencies is as precise as `account_decimals` allows.
        The engine has them; those of a catalog replace them.
    trades : Trades, optional
        Of the one instrument: market orders meet the quotes that they imply at the venue's time.
    """
    balances = [Money.from_str(text).as_decimal() for venue in config.venues for text in venue.starting_balances]
    with precise_currencies(instruments, max(balances)):
        node = BacktestNode([config])
        try:
            node.build()
            (engine,) = node.get_engines()
            for instrument in instruments:
                if engine.cache.instrument(instrument.id) is None:
                    engine.add_instrument(with_registered_currencies(instrument))
            is_late = trades is not None and fill_at_venue_time(engine, trades, instruments[0])
            watch_fills(engine, check_prices=not is_late)
            yield node, engine
        finally:
            node.dispose()


def only_actor(engine: BacktestEngine, kind: type[A]) -> A:
    """Return the one actor of a class."""
    (actor,) = (actor for actor in engine.trader.actors() if isinstance(actor, kind))
    return actor


def count_events(bus: MessageBus, topics: Iterable[str], total: int, on_progress: Callable[[int, int], None]) -> None:
    """Call ``on_progress`` now and then with the number of events on these topics and their total."""
    done = 0

    def count(_: Data) -> None:
        nonlocal done
        done += 1
        if done % PROGRESS_EVERY == 0 or done == total:
            on_progress(done, total)

    for topic in topics:
        bus.subscribe(topic=topic, handler=count)


def fill_at_venue_time(engine: BacktestEngine, trades: Trades, instrument: Instrument) -> bool:
    """Let market orders in a backtest meet the quotes that the trades imply at the venue's time.

    Parameters
    ----------
    engine : BacktestEngine
        Built, with the venue, and not run yet.

    Returns
    -------
    bool
        Whether any trade is received later than it was made; where none is, nothing changes.
    """
    is_late = bool((trades.ts_init > trades.ts_event).any())
    if is_late:
        model = VenueFillModel(trades, tick_steps(instrument), engine.kernel.clock)
        engine.change_fill_model(instrument.id.venue, model)
    return is_late


class VenueFillModel(FillModel):
    """Fills market orders at the quotes in force at the venue, and one step worse, as
    `trading.backtest.engine` does.

    Other orders are matched with what has been received.

    Parameters
    ----------
    trades : Trades
        All trades of the run.
    tick : int
        The instrument's tick, in steps of 10**-price_precision.
    clock : Clock
        The engine's clock.
    """

    def __init__(self, trades: Trades, tick: int, clock: Clock) -> None:
        super().__init__(prob_slippage=1.0, random_seed=1)
        self._ts_event = trades.ts_event
        self._bid, self._ask = implied_quotes(trades, tick)
        self._size = trades.size
        self._clock = clock

    def get_orderbook_for_fill_simulation(
        self, instrument: Instrument, order: Order, best_bid: Price, best_ask: Price
    ) -> OrderBook | None:
        """Return the venue's current bid and ask; None, for the received ones, unless it is a market order."""
        last = int(np.searchsorted(self._ts_event, self._clock.timestamp_ns(), side="right")) - 1
        if last < 0 or order.order_type != OrderType.MARKET:
            return None
        book = OrderBook(instrument.id, BookType.L2_MBP)
        size = int(self._size[last]) * 10 ** (FIXED_PRECISION - instrument.size_precision)
        for number, (side, steps) in enumerate(((OrderSide.BUY, self._bid), (OrderSide.SELL, self._ask)), 1):
            price = int(steps[last]) * 10 ** (FIXED_PRECISION - instrument.price_precision)
            book.add(
                BookOrder(
                    side,
                    Price.from_raw(price, instrument.price_precision),
                    Quantity.from_raw(size, instrument.size_precision),
                    number,
                ),
                0,
                0,
            )
        return book
