"""Runs backtests: one runner, whatever kind of events the model takes its inputs from."""

import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import StrategyConfig

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.trading.backtest.attribution import TradeAttribution
from nautilus_torchserve.trading.backtest.engine import (
    built,
    count_events,
    importable_actor,
    importable_strategy,
    only_actor,
    run_config,
)
from nautilus_torchserve.trading.backtest.holdout import choose_sample
from nautilus_torchserve.trading.backtest.ledger import account_currency
from nautilus_torchserve.trading.backtest.market import Market, market_of
from nautilus_torchserve.trading.backtest.news.market import BarsAndNews
from nautilus_torchserve.trading.backtest.prefetch.run import prefetched
from nautilus_torchserve.trading.backtest.prefetch.two_passes import RecordedInputs
from nautilus_torchserve.trading.backtest.prepared import PreparedRun, RequestStats
from nautilus_torchserve.trading.backtest.results import BacktestResult, Recorder, collect
from nautilus_torchserve.trading.backtest.settings import RunSettings, challengers_metadata, served_metadata
from nautilus_torchserve.trading.backtest.tick.market import TradesAndQuotes
from nautilus_torchserve.trading.features.subscription import Events
from nautilus_torchserve.trading.inference.actor import ModelActor
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.instruments.conform import check_ticks
from nautilus_torchserve.trading.instruments.resolve import resolve_all
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorder
from nautilus_torchserve.user_error import UserError

Data = Trades | TradesAndQuotes | Sequence[Bars] | BarsAndNews | Sequence[Events]
"""Input data of a backtest, by the kind of its model."""


class StrategyFailed(UserError):
    """A strategy raised an exception, or cannot be constructed with its configuration alone."""


def run_backtest(
    data: Data, settings: RunSettings, on_progress: Callable[[int, int], None] | None = None
) -> BacktestResult:
    """Run a backtest.

    Events that the model was fitted on are not traded on unless ``settings.in_sample``; the last of them fill the
    windows of bars, so that the first bar after them has its prediction.

    Parameters
    ----------
    data : Trades, TradesAndQuotes, sequence of Bars, or BarsAndNews
        All data. Bars are of different instruments, of one interval and one settlement currency.
    settings : RunSettings
    on_progress : callable, optional
        Called at intervals with the number of events done and the total.

    Returns
    -------
    BacktestResult
        Check ``gave_up`` and ``failed``: a run whose model stopped responding comes to its end, too.

    Raises
    ------
    BadSetting
        A setting is invalid.
    BadData
        The data do not fit together, too few are left to run on, or the instrument is undefined.
    RequestError, UnreadableArchive
        The model cannot be reached, or was trained on other features or events.
    StoreFailed
        The store of traffic splits cannot be opened.
    StrategyFailed
        The strategy raised an exception.
    """
    market = _prepare_market(data, settings)
    carry = market.carry()
    metadata, instruments, first_ts_event = market.metadata, market.instruments, market.span_ns[0]
    outcomes = settings.recorder(instruments, metadata)
    actor = settings.actor(instruments, metadata, first_ts_event)
    strategies = [settings.strategy(instrument, metadata) for instrument in instruments]
    mode = _inline if settings.mode == "inline" else prefetched if market.is_array_based else _two_passes
    with _naming(strategies), mode(market, actor, strategies, settings.starting_balance) as run:
        bus = run.engine.kernel.msgbus
        held = market.hold_orders(run.engine)
        recorder = Recorder(bus, instruments, metadata.outputs, settings.starting_balance)
        recorder.charge(bus, carry)
        topics = {market.topic(part): part.instrument.id for part in market.parts}
        run.engine.add_actor(recorder.guard(topics))
        reasons = TradeAttribution(bus, run.publisher)
        if outcomes is not None:
            run.engine.add_actor(OutcomeRecorder(outcomes))
        if on_progress is not None:
            count_events(bus, topics, sum(len(part.run) for part in market.parts), on_progress)
        began = time.perf_counter()
        run.start()
        elapsed_s = run.spent_s + time.perf_counter() - began
        return collect(market, recorder, run.engine, elapsed_s, reasons, run.stats(), held, carry)


@contextmanager
def _naming(strategies: Sequence[StrategyConfig]) -> Iterator[None]:
    """Raise what a strategy's file raises as `StrategyFailed`, with the line; and what its construction raises."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        files = {sys.modules[type(strategy).__module__].__file__ for strategy in strategies}
        frames = traceback.extract_tb(error.__traceback__)
        place = next(
            (f" {frame.filename}:{frame.lineno}:" for frame in reversed(frames) if frame.filename in files), ""
        )
        if not place and not frames[-1].filename.endswith("nautilus_trader/trading/config.py"):
            raise
        names = ", ".join(dict.fromkeys(importable_strategy(strategy).strategy_path for strategy in strategies))
        raise StrategyFailed(f"{names}:{place} {type(error).__name__}: {error}") from error


def _prepare_market(data: Data, settings: RunSettings) -> Market[Any]:
    """Check data, settings and model against each other, and choose the evaluated events."""
    kind = market_of(settings)
    events = kind.events(data, settings)
    names = [item.instrument.instrument_id for item in events]
    if len(set(names)) < len(names):
        raise BadData(f"expected {kind.noun}s of different instruments, got {', '.join(names)}")
    definitions = resolve_all(events, settings.instruments, settings.fee_bps)
    instruments = [definition.instrument for definition in definitions]
    _check_currencies(instruments)
    for item, instrument in zip(events, instruments, strict=True):
        check_ticks(item, instrument)
    settings.check(instruments)
    metadata = served_metadata(settings)
    kind.check_model(metadata, events)
    fits = [fit for version in (metadata, *challengers_metadata(settings)) for fit in version.fit_records]
    parts = []
    for item, definition in zip(events, definitions, strict=True):
        others = [other for other in events if other is not item]
        sample = choose_sample(item, fits, settings.in_sample, f"{kind.noun}s", beside=others)
        parts.append(kind.part(item, sample, definition, metadata))
    for part in parts:
        settings.check_margin(part.instrument, part.data.prices()[0])
    return kind(data, parts, settings, metadata)


def _check_currencies(instruments: Sequence[Instrument]) -> None:
    """Refuse instruments of several currencies: accounts have one, and P&L in different ones cannot be added."""
    currencies = [account_currency(instrument).code for instrument in instruments]
    if len(set(currencies)) > 1:
        settled = ", ".join(
            f"{instrument.id} in {code}" for instrument, code in zip(instruments, currencies, strict=True)
        )
        raise BadData(f"expected instruments settled in one currency, got {settled}: run them one by one")
    ids = [instrument.id.value for instrument in instruments]
    if len(set(ids)) < len(ids):
        raise BadData(f"expected instruments that NautilusTrader can tell apart, got {', '.join(ids)}")


@contextmanager
def _inline(
    market: Market[Any],
    actor_config: ModelActorConfig,
    strategies: Sequence[StrategyConfig],
    balance: Decimal,
    client: InferenceClient | None = None,
) -> Iterator[PreparedRun]:
    """Yield a run in which an actor makes one request per event; ``client`` takes the place of its connection."""
    with tempfile.TemporaryDirectory(prefix="catalog-") as folder:
        config = run_config(
            market.known_instruments,
            importable_actor(actor_config),
            [importable_strategy(strategy) for strategy in strategies],
            market.write_catalog(Path(folder)),
            balance,
            market.settings.has_carry,
        )
        with built(config, market.known_instruments, market.venue_quotes) as (node, engine):
            actor = only_actor(engine, ModelActor)
            actor.client = client

            def stats() -> RequestStats:
                failed, refused = market.failures(actor)
                return RequestStats(
                    failed=Counter(failed),
                    refused=Counter(refused),
                    not_arrived=Counter(prediction.instrument_id for prediction in actor.pending),
                    last_error=actor.last_error,
                    last_refusal=actor.last_refusal,
                    gave_up=actor.gave_up,
                    news=market.news(actor),
                )

            yield PreparedRun(engine, actor, lambda: market.run(node, engine), stats)


@contextmanager
def _two_passes(
    market: Market[Any], actor_config: ModelActorConfig, strategies: Sequence[StrategyConfig], balance: Decimal
) -> Iterator[PreparedRun]:
    """Yield a run in which an actor gets responses that were requested in bulk, after a pass without strategies.

    Raises
    ------
    RequestError, UnreadableArchive
        As `trading.backtest.prefetch.run.prefetched`.
    """
    began = time.perf_counter()
    with actor_config.connect() as client:
        recorded = RecordedInputs(client, actor_config.model)
        with _inline(market, actor_config, [], balance, recorded) as first_pass:
            first_pass.start()
        stored = recorded.fetch(actor_config.url)
        with _inline(market, actor_config, strategies, balance, stored) as run:
            yield run._replace(spent_s=time.perf_counter() - began)
