"""How fast backtests are: the engine alone, with predictions fetched beforehand, and with one request a trade."""

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import ImportableActorConfig

from benchmarks.targets import Target
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.engine import built, importable_actor, importable_strategy, run_config
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.market import InstrumentData
from nautilus_torchserve.trading.backtest.prefetch.run import prefetched as prefetch
from nautilus_torchserve.trading.backtest.settings import served_metadata
from nautilus_torchserve.trading.backtest.tick.market import TradeMarket
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.instruments.resolve import Definition

ENGINE, HTTP, ARCHIVE, INLINE = "engine alone", "prefetch, http", "prefetch, mar", "inline, http"
MIN_PROBABILITY = 0.999
"""So that next to no order is sent: orders take a hundred times as long as ticks."""
LEAST_TICKS_PER_S = 50_000.0
LEAST_SHARE = 0.4
"""Of the engine alone."""
MOST_GIB = 6.0
Step = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One backtest."""

    name: str
    """One of the names above."""
    ticks: int
    seconds: float
    """Wall time from the trades as arrays, and a connection, to the end of the run."""
    cpu_seconds: float
    """Processor time of this process meanwhile; says more than wall time where others use the machine, too."""
    orders: int
    peak_bytes: int
    """Most memory that this process has held until then."""

    @property
    def ticks_per_s(self) -> float:
        """Trades of the run per second."""
        return self.ticks / self.seconds

    @property
    def ticks_per_cpu_s(self) -> float:
        """Trades of the run per second of processor time; threads that wait for a server are part of it."""
        return self.ticks / self.cpu_seconds

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types for the report; with ``ticks_per_s`` and ``ticks_per_cpu_s``."""
        return {**asdict(self), "ticks_per_s": self.ticks_per_s, "ticks_per_cpu_s": self.ticks_per_cpu_s}


@dataclass(frozen=True)
class ServedArchive:
    """An archive and the server that serves it."""

    url: str
    """The inference port of a server."""
    token: str | None
    archive: Path
    """The archive itself."""


def compare(trades: Trades, served: ServedArchive, rounds: int, inline: int, step: Step) -> list[Run]:
    """Measure every kind of run on the same trades, in turn, so that a machine that grows slower does so for all.

    Parameters
    ----------
    inline : int
        Trades of the inline run; the others run on all of them.
    step : callable
        Called with what is about to be done, four times a round.

    Raises
    ------
    RequestError
        The model cannot be reached, or failed.
    """
    few = trades.between(0, min(inline, len(trades)))
    kinds: dict[str, Callable[[], Run]] = {
        ENGINE: lambda: engine_alone(trades),
        HTTP: lambda: prefetched(trades, served, HTTP),
        ARCHIVE: lambda: prefetched(trades, served, ARCHIVE),
        INLINE: lambda: inlined(few, served),
    }
    runs = []
    for number in range(1, rounds + 1):
        for name, make in kinds.items():
            step(f"round {number}: {name}")
            runs.append(make())
    return runs


def engine_alone(trades: Trades) -> Run:
    """Measure the engine's own time on ready-trades_block trades and quotes, with the strategy, but no predictions."""
    with _engine(trades, BacktestSettings(url="http://unused", min_probability=MIN_PROBABILITY)) as engine:
        engine.add_data(trade_ticks(trades), sort=False)
        engine.add_data(quote_ticks(trades))
        return _timed(ENGINE, len(trades), engine, engine.run)


def prefetched(trades: Trades, served: ServedArchive, name: str) -> Run:
    """Measure a prefetched run: features, requests, predictions, ticks, quotes and the engine's work on them."""
    url = served.url if name == HTTP else f"mar:{served.archive}"
    settings = _settings(url, served)
    definition = Definition(perpetual(trades.instrument, settings.fee_bps), {})
    part = InstrumentData(trades, trades, Sample(0, True, "simulated"), definition)
    market = TradeMarket(trades, [part], settings, served_metadata(settings))
    actor = settings.actor(market.instruments, market.metadata)
    strategies = [settings.strategy(instrument, market.metadata) for instrument in market.instruments]
    with prefetch(market, actor, strategies, settings.starting_balance) as run:
        return _timed(name, len(trades), run.engine, run.start)


def inlined(trades: Trades, served: ServedArchive) -> Run:
    """Measure a run that sends one request for each trade, when it comes to it."""
    settings = _settings(served.url, served)
    actor = settings.actor([perpetual(trades.instrument, settings.fee_bps)], served_metadata(settings))
    with _engine(trades, settings, importable_actor(actor)) as engine:
        engine.add_data(trade_ticks(trades), sort=False)
        engine.add_data(quote_ticks(trades))
        return _timed(INLINE, len(trades), engine, engine.run)


def long_market(trades: int, seed: int, block: int = 1_000_000) -> Trades:
    """Simulate trades in blocks, each after its predecessor; in one piece the simulator needs 0.5 kB a trade."""
    times = np.empty(trades, dtype=np.int64)
    price, size, side = np.empty_like(times), np.empty_like(times), np.empty(trades, dtype=np.int8)
    for start in range(0, trades, block):
        trades_block = simulate(min(block, trades - start), seed + start)
        here = slice(start, start + len(trades_block))
        after_ns = times[start - 1] + 1 - trades_block.ts_event[0] if start else 0
        times[here] = trades_block.ts_event + after_ns
        price[here], size[here], side[here] = trades_block.price, trades_block.size, trades_block.side
    names = np.arange(1, trades + 1).astype(f"U{len(str(trades))}")
    return replace(trades_block, ts_event=times, ts_init=times, price=price, size=size, side=side, trade_id=names)


def find_targets(runs: Sequence[Run], long: Run | None) -> list[Target]:
    """Return the targets of prefetched runs, with the medians that were measured."""
    per_s = medians(runs, "ticks_per_s")
    targets = [
        Target(f"{HTTP}: ticks/s", per_s[HTTP], LEAST_TICKS_PER_S, at_most=False),
        Target(f"{HTTP}: ticks/s / {ENGINE}", per_s[HTTP] / per_s[ENGINE], LEAST_SHARE, at_most=False),
    ]
    if long is not None:
        targets.append(
            Target(f"{long.ticks:,} ticks: most memory (GiB)", long.peak_bytes / 2**30, MOST_GIB, at_most=True)
        )
    return targets


def medians(runs: Sequence[Run], of: str) -> dict[str, float]:
    """Return kind of run -> median of one of its properties over all rounds."""
    names = dict.fromkeys(run.name for run in runs)
    return {name: median(getattr(run, of) for run in runs if run.name == name) for name in names}


def _settings(url: str, served: ServedArchive) -> BacktestSettings:
    """Return the settings of a run on that model, whose token is where an actor looks for it."""
    settings = BacktestSettings(url=url, min_probability=MIN_PROBABILITY)
    if served.token is not None:
        os.environ[settings.token_env] = served.token
    return settings


@contextmanager
def _engine(
    trades: Trades, settings: BacktestSettings, actor: ImportableActorConfig | None = None
) -> Iterator[BacktestEngine]:
    instrument = perpetual(trades.instrument, settings.fee_bps)
    strategy = importable_strategy(settings.strategy(instrument))
    config = run_config([instrument], actor, [strategy], [], settings.starting_balance)
    with built(config, [instrument]) as (_, engine):
        yield engine


def _timed(name: str, ticks: int, engine: BacktestEngine, run: Callable[[], object]) -> Run:
    began, began_cpu = time.perf_counter(), time.process_time()
    run()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Run(name, ticks, seconds, cpu_seconds, engine.cache.orders_total_count(), peak)
