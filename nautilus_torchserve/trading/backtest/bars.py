"""Runs the bar strategy over the bars of one or several instruments, with a model's predictions asked bar by bar."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.model.data import Bar, BarType, QuoteTick
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.features.bar import bar_schema, have_volume, window_ends
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.quotes import breaks
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.model_metadata import FitRecord, ModelMetadata
from nautilus_torchserve.trading.backtest.attribution import TradeAttribution
from nautilus_torchserve.trading.backtest.bar_catalog import write_bar_catalog
from nautilus_torchserve.trading.backtest.bars_results import BarBacktestResult, EvaluationBars, collect
from nautilus_torchserve.trading.backtest.bars_settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.closed_markets import ClosedMarkets
from nautilus_torchserve.trading.backtest.engine import built, count_events, only_actor, run_config
from nautilus_torchserve.trading.backtest.holdout import choose_sample
from nautilus_torchserve.trading.backtest.ledger import account_currency
from nautilus_torchserve.trading.backtest.prefetch.bars import BarsRun
from nautilus_torchserve.trading.backtest.prefetch.run import prefetched_bars
from nautilus_torchserve.trading.backtest.results import Recorder
from nautilus_torchserve.trading.backtest.run import PreparedRun, inline_run
from nautilus_torchserve.trading.backtest.settings import challengers_metadata, served_metadata
from nautilus_torchserve.trading.backtest.tick_settings import importable_actor, importable_strategy
from nautilus_torchserve.trading.bars.actor import BarInferenceActor, BarInferenceActorConfig
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.instruments.conform import check_ticks, conform
from nautilus_torchserve.trading.instruments.resolve import Definition, resolve_all
from nautilus_torchserve.trading.outcomes.recorder import OutcomeRecorder
from nautilus_torchserve.wire.errors import SchemaMismatch
from strategies.bar_strategy import BarStrategyConfig


class Market(NamedTuple):
    """One instrument of a run."""

    judged: EvaluationBars
    bar_type: BarType

    @property
    def instrument(self) -> Instrument:
        """What is traded."""
        return self.judged.definition.instrument

    @property
    def run(self) -> Bars:
        """The bars as the engine takes them."""
        return conform(self.judged.run, self.instrument)


OtherData = Callable[[Path, ModelMetadata, int, int], list[BacktestDataConfig]]
"""Given a catalog's folder, the model's metadata, and when the first and the last judged bar closed (Unix ns):
writes other data there, and says which."""


def run_bar_backtest(
    bars: Sequence[Bars],
    settings: BarBacktestSettings,
    on_progress: Callable[[int, int], None] | None = None,
    other_data: OtherData | None = None,
) -> BarBacktestResult:
    """Run a backtest.

    Bars that the model's fit saw are not traded on unless ``settings.in_sample``; the last of them fill the
    windows, so that the first bar after them has its prediction.

    Parameters
    ----------
    bars : sequence of Bars
        All there are, of different instruments of one interval and one settlement currency.
    settings : BarBacktestSettings
    on_progress : callable, optional
        Called now and then with the number of bars done and of all.
    other_data : OtherData, optional
        What the run has besides bars and quotes; handled after those of the same time.

    Returns
    -------
    BarBacktestResult
        Look at ``gave_up`` and each instrument's ``failed``: a run whose model stopped answering comes to its
        end, too.

    Raises
    ------
    BadSetting
        A setting makes no sense.
    BadData
        The bars do not go together, or too few are left for one window.
    RequestError, UnreadableArchive
        The model cannot be reached, or was trained on other bars or features.
    StoreFailed
        The store of traffic splits cannot be opened.
    """
    expect(
        settings.mode == "inline" or other_data is None,
        f"mode inline for a model that reads news (which come one by one), was {settings.mode!r}",
    )
    _refuse_unlike(bars)
    definitions = resolve_all(bars, settings.instruments, settings.fee_bps)
    instruments = [definition.instrument for definition in definitions]
    _refuse_several_currencies(instruments)
    for each, instrument in zip(bars, instruments, strict=True):
        settings.check_size(instrument)
        check_ticks(each, instrument)
    metadata = served_metadata(settings)
    _refuse_model(metadata, bars[0])
    kept = settings.recorder([bar_type(each.id, bars[0].interval_ns) for each in instruments], metadata)
    fits = [fit for each in (metadata, *challengers_metadata(settings)) for fit in each.fit_records]
    markets = [
        Market(
            _judged(each, bars, metadata, fits, settings.in_sample, definition),
            bar_type(definition.instrument.id, each.interval_ns),
        )
        for each, definition in zip(bars, definitions, strict=True)
    ]
    for market in markets:
        settings.check_margin(market.instrument, market.judged.bars.prices()[0])
    first_ts_event = min(int(market.judged.bars.ts_event[0]) for market in markets)
    last_ts_event = max(int(market.judged.bars.ts_event[-1]) for market in markets)
    actor = settings.actor([market.bar_type for market in markets], metadata, first_ts_event)
    strategies = [settings.strategy(market.instrument, metadata) for market in markets]

    def others(folder: Path) -> list[BacktestDataConfig]:
        return [] if other_data is None else other_data(folder, metadata, first_ts_event, last_ts_event)

    if settings.mode == "prefetch":
        runs = [BarsRun(market.run, market.instrument, market.bar_type) for market in markets]
        ready = prefetched_bars(runs, actor, strategies, settings.spread_bps, settings.starting_balance)
    else:
        ready = _inline(markets, actor, strategies, settings, others)
    with ready as run:
        bus = run.engine.kernel.msgbus
        closed = ClosedMarkets(run.engine, {market.instrument.id: breaks(market.run) for market in markets})
        recorder = Recorder(bus, instruments, metadata.outputs, settings.starting_balance)
        topics = {f"data.bars.{market.bar_type}": market.instrument.id for market in markets}
        run.engine.add_actor(recorder.guard(topics))
        reasons = TradeAttribution(bus, run.publisher)
        if kept is not None:
            run.engine.add_actor(OutcomeRecorder(kept))
        if on_progress is not None:
            total = sum(len(market.judged.run) for market in markets)
            count_events(bus, topics, total, on_progress)
        began = time.perf_counter()
        run.start()
        elapsed_s = time.perf_counter() - began
        return collect(
            [market.judged for market in markets], metadata, recorder, run.engine, elapsed_s, reasons, run.asked(),
            closed.held,
        )  # fmt: skip


@contextmanager
def _inline(
    markets: Sequence[Market],
    actor: BarInferenceActorConfig,
    strategies: Sequence[BarStrategyConfig],
    settings: BarBacktestSettings,
    others: Callable[[Path], list[BacktestDataConfig]],
) -> Iterator[PreparedRun]:
    with tempfile.TemporaryDirectory(prefix="catalog-") as folder:
        data = _data(markets, settings.spread_bps, Path(folder)) + others(Path(folder))
        instruments = [market.instrument for market in markets]
        config = run_config(
            instruments,
            importable_actor(actor),
            [importable_strategy(strategy) for strategy in strategies],
            data,
            settings.starting_balance,
        )
        with built(config, instruments) as (node, engine):
            yield inline_run(node, engine, only_actor(engine, BarInferenceActor))


def _refuse_unlike(bars: Sequence[Bars]) -> None:
    if not bars:
        raise BadData("bars of at least 1 instrument expected, was none")
    names = [each.instrument.instrument_id for each in bars]
    if len(set(names)) < len(names):
        raise BadData(f"bars of different instruments expected, was {', '.join(names)}")
    intervals = [f"{each.interval_ns / 1e9:g} s of {each.instrument.instrument_id}" for each in bars]
    if len({each.interval_ns for each in bars}) > 1:
        raise BadData(f"bars of one interval expected, was {', '.join(intervals)}")


def _refuse_several_currencies(instruments: Sequence[Instrument]) -> None:
    """Accounts have one currency, and P&L in different ones cannot be added."""
    currencies = [account_currency(each).code for each in instruments]
    if len(set(currencies)) > 1:
        settled = ", ".join(f"{each.id} in {code}" for each, code in zip(instruments, currencies, strict=True))
        raise BadData(f"expected instruments settled in one currency, got {settled}: run them one by one")
    ids = [each.id.value for each in instruments]
    if len(set(ids)) < len(ids):
        raise BadData(f"expected instruments that NautilusTrader can tell apart, got {', '.join(ids)}")


def _refuse_model(metadata: ModelMetadata, bars: Bars) -> None:
    """Refuse a model of other features or other bars, before anything is run."""
    theirs = metadata.require_bars() if metadata.takes_bars else None
    if theirs is None or bar_schema(theirs.indicators).sha256 != metadata.feature_schema_sha256:
        ours, other = bar_schema().name, metadata.feature_schema.name
        raise SchemaMismatch(f"a model trained on features {ours} as they are computed here expected, was {other}")
    if not {"return_bps", "confidence"} <= set(metadata.outputs):
        raise SchemaMismatch(
            f"expected a model with outputs return_bps and confidence, got {', '.join(metadata.outputs)}"
        )
    if theirs.interval_ns != bars.interval_ns:
        raise SchemaMismatch(
            f"a model of {bars.interval_ns / 1e9:g} s bars expected, was of {theirs.interval_ns / 1e9:g} s"
        )


def _judged(
    bars: Bars,
    all_bars: Sequence[Bars],
    metadata: ModelMetadata,
    fits: Sequence[FitRecord],
    in_sample: bool,
    definition: Definition,
) -> EvaluationBars:
    """One instrument's bars of a run, from after the last one that any of the fits saw."""
    sample = choose_sample(bars, fits, in_sample, "bars", beside=[other for other in all_bars if other is not bars])
    windows = metadata.require_bars()
    lookback = bar_schema(windows.indicators).window
    run = bars.between(max(0, sample.first - lookback + 1), len(bars))
    warm = len(run) - (len(bars) - sample.first)
    ends = window_ends(run.ts_event, windows.max_gap_ns, lookback)
    ends = ends[ends >= warm]
    asked = int(have_volume(run.volumes(), ends).sum())
    if not asked:
        raise BadData(
            f"{bars.source}: expected {lookback} bars with volume and without a break, got fewer among {len(run)}"
        )
    return EvaluationBars(run, warm, asked, len(ends) - asked, sample, definition)


def _data(markets: Sequence[Market], spread_bps: float, folder: Path) -> list[BacktestDataConfig]:
    """Write a catalog; its parts in the order in which data of one time are handled: all bars, then the quotes.

    No strategy sees a quote before the bar that closed with it, and no order is sent before both.
    """
    for market in markets:
        write_bar_catalog(market.run, market.instrument, market.bar_type, spread_bps, folder)
    bars = [
        BacktestDataConfig(catalog_path=str(folder), data_cls=Bar, bar_types=[str(market.bar_type)])
        for market in markets
    ]
    quotes = [
        BacktestDataConfig(catalog_path=str(folder), data_cls=QuoteTick, instrument_id=market.instrument.id)
        for market in markets
    ]
    return bars + quotes
