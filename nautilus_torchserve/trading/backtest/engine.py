"""Setup of NautilusTrader's backtest engine, shared by all backtests."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TypeVar

from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
    ImportableFillModelConfig,
)
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import MessageBus
from nautilus_trader.common.config import ActorConfig, ImportableActorConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money
from nautilus_trader.trading.config import ImportableStrategyConfig, StrategyConfig

from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.trading.backtest.carry import CarryModuleConfig
from nautilus_torchserve.trading.backtest.ledger import account_currency
from nautilus_torchserve.trading.backtest.simulated_time import watch_fills
from nautilus_torchserve.trading.backtest.venue_fills import fill_at_venue_time
from nautilus_torchserve.trading.instruments.currencies import precise_currencies, with_registered_currencies

A = TypeVar("A", bound=Actor)
NO_QUOTES: Mapping[InstrumentId, Quotes] = {}
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


def _paths(config: ActorConfig | StrategyConfig | CarryModuleConfig) -> tuple[str, str]:
    """Return the paths of a component and its config: one module, the config's name ends with ``Config``."""
    module, name = type(config).__module__, type(config).__name__
    return f"{module}:{name.removesuffix('Config')}", f"{module}:{name}"


def run_config(
    instruments: Sequence[Instrument],
    actor: ImportableActorConfig | None,
    strategies: Sequence[ImportableStrategyConfig],
    data: Sequence[BacktestDataConfig],
    balance: Decimal,
    has_carry: bool = False,
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
    has_carry : bool
        Whether positions are charged with funding or interest, see `trading.backtest.carry`.
    """
    modules = [_carry_module()] if has_carry else []
    venues = {instrument.id.venue.value: account_currency(instrument).code for instrument in instruments}
    return BacktestRunConfig(
        engine=BacktestEngineConfig(
            actors=[] if actor is None else [actor],
            strategies=list(strategies),
            logging=LoggingConfig(log_level="ERROR"),  # to stderr; anything below goes to stdout
            risk_engine=RiskEngineConfig(max_order_submit_rate="1000000/00:00:01"),
        ),
        venues=[_venue(venue, currency, balance, modules) for venue, currency in venues.items()],
        data=list(data),
        raise_exception=True,
        dispose_on_completion=False,
    )


def _carry_module() -> ImportableActorConfig:
    actor_path, config_path = _paths(CarryModuleConfig())
    return ImportableActorConfig(actor_path=actor_path, config_path=config_path, config={})


def _venue(venue: str, currency: str, balance: Decimal, modules: list[ImportableActorConfig]) -> BacktestVenueConfig:
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
        modules=modules,
    )


@contextmanager
def built(
    config: BacktestRunConfig, instruments: Sequence[Instrument], quotes: Mapping[InstrumentId, Quotes] = NO_QUOTES
) -> Iterator[tuple[BacktestNode, BacktestEngine]]:
    """Yield the node and its engine, ready to run, and dispose of them afterwards.

    Parameters
    ----------
    instruments : sequence of Instrument
        What is traded: until the end, money in their settlement currencies is as precise as `account_decimals` allows.
        The engine has them; those of a catalog replace them.
    quotes : mapping of InstrumentId to Quotes
        Quotes that market orders meet at the venue's time; orders in other instruments meet received ones.
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
            fill_at_venue_time(engine, quotes)
            watch_fills(engine, check_prices=not quotes)
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
