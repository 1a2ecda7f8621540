"""Runs the tick strategy over trades, on a model's predictions."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.features.tick import WINDOW, tick_schema
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.attribution import TradeAttribution
from nautilus_torchserve.trading.backtest.engine import built, count_events, only_actor
from nautilus_torchserve.trading.backtest.holdout import choose_sample
from nautilus_torchserve.trading.backtest.prefetch.run import prefetched
from nautilus_torchserve.trading.backtest.run import PreparedRun, inline_run
from nautilus_torchserve.trading.backtest.settings import challengers_metadata, served_metadata
from nautilus_torchserve.trading.backtest.tick_results import CLASSES, BacktestResult, Recorder, collect
from nautilus_torchserve.trading.backtest.tick_settings import BacktestSettings, run_config
from nautilus_torchserve.trading.instruments.conform import check_ticks, conform
from nautilus_torchserve.trading.instruments.instruments import write_catalog
from nautilus_torchserve.trading.instruments.resolve import resolve
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorder
from nautilus_torchserve.trading.tick.actor import InferenceActor, InferenceActorConfig
from nautilus_torchserve.wire.errors import SchemaMismatch
from strategies.tick_strategy import TickStrategyConfig


def run_backtest(
    trades: Trades, settings: BacktestSettings, on_progress: Callable[[int, int], None] | None = None
) -> BacktestResult:
    """Run a backtest.

    Parameters
    ----------
    trades : Trades
        All there are; what the model's fit saw is left out unless ``settings.in_sample``.
    settings : BacktestSettings
    on_progress : callable, optional
        Called now and then with the number of trades done and of all.

    Returns
    -------
    BacktestResult
        Look at ``gave_up`` and ``failed``: a run whose model stopped answering comes to its end, too.

    Raises
    ------
    BadSetting
        A setting makes no sense.
    BadData
        No trades are left to run on, or too few for one row of features; it is not known what was traded, or not traded
        in its ticks.
    RequestError, UnreadableArchive
        The model cannot be reached, or was trained on other features than `tick_features`.
    StoreFailed
        The store of traffic splits cannot be opened.
    """
    definition = resolve(trades, settings.instruments, settings.fee_bps)
    instrument = definition.instrument
    check_ticks(trades, instrument)
    strategy = settings.strategy(instrument)
    actor = settings.actor(instrument.id, WINDOW)  # bad settings are refused before anything is asked
    metadata = served_metadata(settings)
    actor = msgspec.structs.replace(actor, window=_window(metadata), version=settings.asking(metadata)["version"])
    kept = settings.recorder(instrument.id, metadata)
    fits = [fit for each in (metadata, *challengers_metadata(settings)) for fit in each.fit_records]
    sample = choose_sample(trades, fits, settings.in_sample, "trades")
    trades = trades.between(sample.first, len(trades))
    if len(trades) <= actor.window:
        raise BadData(f"{trades.source}: more than {actor.window} trades to run on expected, was {len(trades)}")
    settings.check_margin(instrument, trades.prices()[0])

    ready_for = prefetched if settings.mode == "prefetch" else _inline
    with ready_for(conform(trades, instrument), instrument, actor, strategy, settings.starting_balance) as run:
        bus = run.engine.kernel.msgbus
        recorder = Recorder(bus, [instrument], CLASSES, settings.starting_balance)
        topic = f"data.trades.{instrument.id.venue}.{instrument.id.symbol}"
        run.engine.add_actor(recorder.guard({topic: instrument.id}))
        reasons = TradeAttribution(bus, run.publisher)
        if kept is not None:
            run.engine.add_actor(OutcomeRecorder(kept))
        if on_progress is not None:
            count_events(bus, [topic], len(trades), on_progress)
        began = time.perf_counter()
        run.start()
        elapsed_s = time.perf_counter() - began
        return collect(trades, definition, metadata, sample, recorder, run.engine, elapsed_s, reasons, run.asked())


@contextmanager
def _inline(
    trades: Trades,
    instrument: Instrument,
    actor: InferenceActorConfig,
    strategy: TickStrategyConfig,
    balance: Decimal,
) -> Iterator[PreparedRun]:
    with tempfile.TemporaryDirectory(prefix="catalog-") as folder:
        write_catalog(trades, instrument, Path(folder))
        config = run_config(instrument, actor, strategy, Path(folder), balance)
        with built(config, [instrument], trades) as (node, engine):
            yield inline_run(node, engine, only_actor(engine, InferenceActor))


def _window(metadata: ModelMetadata) -> int:
    """The model's window, provided that its features are otherwise those of `tick_features`."""
    theirs = metadata.feature_schema
    ours = tick_schema(theirs.window)
    if ours.sha256 != metadata.feature_schema_sha256:
        raise SchemaMismatch(f"a model trained on features {ours.name} expected, was {theirs.name}")
    if not set(CLASSES) <= set(metadata.outputs):
        got = ", ".join(metadata.outputs)
        raise SchemaMismatch(f"expected a model with outputs {', '.join(CLASSES)}, got {got}")
    return ours.window
