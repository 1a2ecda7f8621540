"""NautilusTrader's `TradingNode`, set up from the settings."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance import BinanceLiveDataClientFactory, BinanceLiveExecClientFactory
from nautilus_trader.common.config import ImportableActorConfig
from nautilus_trader.config import (
    LiveDataEngineConfig,
    LiveExecEngineConfig,
    LiveRiskEngineConfig,
    LoggingConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.persistence.config import DataCatalogConfig
from nautilus_trader.trading.config import ImportableStrategyConfig

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.engine import importable_actor, importable_strategy
from nautilus_torchserve.trading.checks import BadSetting, expect
from nautilus_torchserve.trading.live import binance
from nautilus_torchserve.trading.live.audit.actor import AuditActorConfig
from nautilus_torchserve.trading.live.components import actor_config, config_from, named, strategy_configs
from nautilus_torchserve.trading.live.metrics.actor import MetricsActor, MetricsActorConfig
from nautilus_torchserve.trading.live.paper import SandboxLiveExecClientFactory, paper_client
from nautilus_torchserve.trading.live.replay.client import ReplayDataClientConfig, ReplayDataClientFactory
from nautilus_torchserve.trading.live.risk.order_limits import OrderLimits
from nautilus_torchserve.trading.live.settings import (
    AdapterExecution,
    AdapterMarket,
    BinanceExecution,
    BinanceMarket,
    LiveSettings,
    ReplayMarket,
)
from nautilus_torchserve.trading.live.settings_file import environment_value
from nautilus_torchserve.wire.loopback import exempt_loopback

Client = tuple[str, Any, Any]
"""Name, config and factory of a data or execution client."""


def build_node(
    settings: LiveSettings, metadata: ModelMetadata | None, loop: asyncio.AbstractEventLoop
) -> tuple[TradingNode, list[InstrumentId]]:
    """Return the node, ready to run, and what it trades.

    Parameters
    ----------
    metadata : ModelMetadata, optional
        The model's; None where it is not known yet.
    loop : AbstractEventLoop
        What it is to run on.

    Raises
    ------
    BadSetting
        A setting makes no sense, or an environment variable is missing.
    BadData
        What is to be replayed cannot be used.
    """
    exempt_loopback()  # a gateway or a venue's simulator on this machine
    actor = actor_config(settings, metadata)
    strategies = strategy_configs(settings, actor, metadata)
    instrument_ids = actor.subjects()
    _check_limits(settings, instrument_ids)
    data, execution = _data_client(settings, instrument_ids), _execution_client(settings, instrument_ids)
    traders = [importable_strategy(strategy) for strategy in strategies]
    node = TradingNode(
        config=TradingNodeConfig(
            trader_id=TraderId(settings.node.trader_id),
            logging=_logging(settings),
            data_engine=LiveDataEngineConfig(graceful_shutdown_on_exception=True),
            exec_engine=LiveExecEngineConfig(
                reconciliation=settings.is_real,
                reconciliation_instrument_ids=instrument_ids,
                graceful_shutdown_on_exception=True,
            ),
            risk_engine=LiveRiskEngineConfig(
                max_order_submit_rate=settings.risk.max_order_submit_rate,
                max_notional_per_order=settings.risk.max_notional_per_order,
                graceful_shutdown_on_exception=True,
            ),
            data_clients={data[0]: data[1]},
            exec_clients={execution[0]: execution[1]},
            actors=[*_listeners(settings, actor.model, instrument_ids, traders), importable_actor(actor)],
            strategies=traders,
            catalogs=_catalogs(settings),
            timeout_connection=settings.node.connect_within_s,
            timeout_reconciliation=settings.node.connect_within_s,
            timeout_portfolio=settings.node.connect_within_s,
            timeout_post_stop=settings.node.settle_s,
        ),
        loop=loop,
    )
    node.add_data_client_factory(data[0], data[2])
    node.add_exec_client_factory(execution[0], execution[2])
    node.build()
    limits = settings.risk.max_notional_per_order.items()
    OrderLimits(node.kernel, {InstrumentId.from_str(name): Decimal(most) for name, most in limits})
    for listener in node.trader.actors():
        if isinstance(listener, MetricsActor):
            listener.watch([*node.trader.actors(), *node.trader.strategies()])
    return node, instrument_ids


def _listeners(
    settings: LiveSettings, model: str, instrument_ids: list[InstrumentId], traders: list[ImportableStrategyConfig]
) -> list[ImportableActorConfig]:
    """Return the actors that listen to the run; they start first, so that nothing is missed."""
    listeners = []
    for place, own in enumerate(settings.actors):
        named(own.path, f"actors[{place}].path")
        config_from(named(own.config_path, f"actors[{place}].config_path"), own.config, f"actors[{place}].config")
        listeners.append(ImportableActorConfig(actor_path=own.path, config_path=own.config_path, config=own.config))
    if settings.metrics is not None:
        config = MetricsActorConfig(
            models=[model], instrument_ids=instrument_ids, port=settings.metrics.port, host=settings.metrics.host
        )
        listeners.insert(0, importable_actor(config))
    if settings.audit is not None:
        log = AuditActorConfig(
            url=settings.audit.url,
            models=[model],
            instrument_ids=instrument_ids,
            source=market_in_words(settings),
            config_digest=settings.sha256,
            strategies=tuple(traders),
            flush_s=settings.audit.flush_s,
        )
        listeners.insert(0, importable_actor(log))
    return listeners


def _catalogs(settings: LiveSettings) -> list[DataCatalogConfig]:
    catalog = settings.node.catalog
    if catalog is None:
        return []
    expect(Path(catalog).is_dir(), f"node.catalog: the folder of a catalog, got {catalog}")
    return [DataCatalogConfig(path=str(Path(catalog).resolve()))]


def _logging(settings: LiveSettings) -> LoggingConfig:
    folder = settings.node.log_folder
    return LoggingConfig(
        log_level=settings.node.log_level,
        log_level_file=None if folder is None else settings.node.log_level,
        log_directory=folder,
        log_colors=False,
        print_config=False,
    )


def _check_limits(settings: LiveSettings, instrument_ids: list[InstrumentId]) -> None:
    limited = set(settings.risk.max_notional_per_order)
    names = {str(instrument_id) for instrument_id in instrument_ids}
    expect(
        limited <= names,
        f"risk.max_notional_per_order of instruments traded ({', '.join(sorted(names))}), "
        f"got those of {', '.join(sorted(limited - names))}",
    )
    expect(
        not settings.is_real or names <= limited,
        f"risk.max_notional_per_order of each instrument, got none of {', '.join(sorted(names - limited))}",
    )


def _data_client(settings: LiveSettings, instrument_ids: list[InstrumentId]) -> Client:
    market = settings.market
    if isinstance(market, BinanceMarket):
        return binance.CLIENT, binance.data_client(market, instrument_ids), BinanceLiveDataClientFactory
    if isinstance(market, AdapterMarket):
        return _adapter(market, "market")
    venue = _only_venue(instrument_ids)
    return venue, ReplayDataClientConfig(market=market), ReplayDataClientFactory


def _execution_client(settings: LiveSettings, instrument_ids: list[InstrumentId]) -> Client:
    execution, market = settings.execution, settings.market
    if isinstance(execution, BinanceExecution):
        assert isinstance(market, BinanceMarket)
        config = binance.execution_client(market, execution, instrument_ids)
        return binance.CLIENT, config, BinanceLiveExecClientFactory
    if isinstance(execution, AdapterExecution):
        return _adapter(execution, "execution")
    venue = _only_venue(instrument_ids)
    return venue, paper_client(execution, venue), SandboxLiveExecClientFactory


def _adapter(chosen: AdapterMarket | AdapterExecution, place: str) -> Client:
    """Return a client of any adapter; the secrets of its config come from the environment."""
    secrets = {
        name: environment_value(variable, f"{place}.config_env.{name}") for name, variable in chosen.config_env.items()
    }
    kind = named(chosen.config_path, f"{place}.config_path")
    config: Any = config_from(kind, {**chosen.config, **secrets}, f"{place}.config")
    return chosen.name, config, named(chosen.factory, f"{place}.factory")


def _only_venue(instrument_ids: list[InstrumentId]) -> str:
    venues = sorted({instrument_id.venue.value for instrument_id in instrument_ids})
    if len(venues) != 1:
        raise BadSetting(f"expected instruments of one venue, got {', '.join(venues)}")
    return venues[0]


def announcement(settings: LiveSettings) -> str:
    """Return lines to read before orders are sent; they hold no secret."""
    risk, actor = settings.risk, settings.model.actor
    loss = "none" if risk.max_daily_loss is None else f"{risk.max_daily_loss}"
    notional = ", ".join(f"{name} {most}" for name, most in risk.max_notional_per_order.items()) or "none"
    switch = "SIGUSR1" if risk.kill_file is None else f"{risk.kill_file} or SIGUSR1"
    audit_log = "nothing" if settings.audit is None else settings.audit.url
    return "\n".join(
        (
            "REAL ORDERS" if settings.is_real else "paper trading",
            f"  data              {market_in_words(settings)}",
            f"  orders            {_execution(settings)}",
            f"  trades            {_traded(settings)}",
            f"  model             {settings.model.name} at {actor.get('url', 'nowhere')}",
            f"  size              {settings.strategy.get('trade_size', 'none')}",
            f"  largest position  {settings.strategy.get('max_position', 'no limit but the size')}",
            f"  order rate        {risk.max_order_submit_rate}",
            f"  largest order     {notional}",
            f"  daily loss        {loss}",
            f"  kill switch       {switch}",
            f"  audit log         {audit_log}",
            f"  when it stops     {'positions are closed' if settings.node.flatten_on_stop else 'positions stay'}",
        )
    )


def _traded(settings: LiveSettings) -> str:
    actor = settings.model.actor
    return actor.get("instrument_id") or ", ".join(actor.get("bar_types", actor.get("instrument_ids", [])))


def market_in_words(settings: LiveSettings) -> str:
    """Return where data come from, in words."""
    market = settings.market
    if isinstance(market, ReplayMarket):
        source = market.trades or ", ".join(market.bars) or f"{market.simulate} simulated trades"
        return f"replay of {source}, speed {market.speed:g}"
    if isinstance(market, BinanceMarket):
        return f"Binance USDT futures, {market.environment}"
    return f"{market.name} ({market.factory})"


def _execution(settings: LiveSettings) -> str:
    if not settings.is_real:
        return "simulated here"
    if isinstance(settings.market, BinanceMarket):
        return f"Binance USDT futures, {settings.market.environment}"
    return getattr(settings.execution, "name", "")
