"""Runs of trades that are put together by hand: prefetched in chunks of a size, or inline from a catalog."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nautilus_trader.backtest.config import BacktestRunConfig

from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.engine import importable_actor, importable_strategy, run_config
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import InstrumentData
from nautilus_torchserve.trading.backtest.prefetch.run import prefetched
from nautilus_torchserve.trading.backtest.prepared import PreparedRun
from nautilus_torchserve.trading.backtest.settings import served_metadata
from nautilus_torchserve.trading.backtest.tick.market import TradeMarket
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.instruments.resolve import Definition
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig


def trade_market(trades: Trades, settings: BacktestSettings) -> TradeMarket:
    """The trades as a perpetual contract, on the model that the settings name."""
    definition = Definition(perpetual(trades.instrument, settings.fee_bps), {})
    part = InstrumentData(trades, trades, Sample(0, True, "all"), definition)
    return TradeMarket(trades, [part], settings, served_metadata(settings))


@contextmanager
def prefetched_trades(
    trades: Trades, settings: BacktestSettings, chunk: int = TradeMarket.chunk
) -> Iterator[PreparedRun]:
    """A prefetched run, ready to start."""
    market = trade_market(trades, settings)
    market.chunk = chunk
    actor, strategies = configs(market)
    with prefetched(market, actor, strategies, settings.starting_balance) as run:
        yield run


def inline_config(market: TradeMarket, folder: Path, **changes: Any) -> BacktestRunConfig:
    """The config of an inline run from a catalog in the folder; ``changes`` are of the actor."""
    actor, strategies = configs(market, **changes)
    return run_config(
        market.instruments,
        importable_actor(actor),
        [importable_strategy(strategy) for strategy in strategies],
        market.write_catalog(folder),
        market.settings.starting_balance,
    )


def configs(market: TradeMarket, **changes: Any) -> tuple[InferenceActorConfig, list[Any]]:
    """Return the configs of the actor and the strategies."""
    settings, metadata = market.settings, market.metadata
    actor = settings.actor(market.instruments, metadata)
    fields = {name: getattr(actor, name) for name in actor.__struct_fields__}
    strategies = [settings.strategy(instrument, metadata) for instrument in market.instruments]
    return InferenceActorConfig(**{**fields, **changes}), strategies
