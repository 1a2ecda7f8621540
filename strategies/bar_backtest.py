"""Runs the bar strategy over the bars of one or several instruments, with a model's predictions asked bar by bar."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.model.data import Bar, BarType, QuoteTick
from nautilus_trader.model.instruments import CryptoPerpetual

from features.bar import bar_schema, have_volume, window_ends
from market.bars import Bars
from market.trades import BadData
from strategies.bar_catalog import write_bar_catalog
from strategies.bar_inference_actor import BarInferenceActor, BarInferenceActorConfig
from strategies.bar_results import BarBacktestResult, JudgedBars, collect
from strategies.bar_settings import BarBacktestSettings
from strategies.bar_strategy import BarStrategyConfig
from strategies.bar_types import bar_type
from strategies.bookkeeping import Recorder
from strategies.checks import expect
from strategies.engine import built, count_events, only_actor, run_config
from strategies.instruments import perpetual, split_symbol
from strategies.outcome_recorder import OutcomeRecorder
from strategies.prefetch import prefetched_bars
from strategies.prefetch_bars import BarsRun
from strategies.ready_run import ReadyRun, asked_inline
from strategies.run_settings import challengers_metadata, served_metadata
from strategies.sample import first_judged, fitted_on
from strategies.settings import importable_actor, importable_strategy
from strategies.trade_reasons import Reasons
from wire.errors import SchemaMismatch


class Market(NamedTuple):
    """One instrument of a run."""

    judged: JudgedBars
    instrument: CryptoPerpetual
    bar_type: BarType


OtherData = Callable[[Path, Mapping[str, Any], int, int], list[BacktestDataConfig]]
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
        All there are, of different instruments of one interval and one quote currency.
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
    _refuse_unlike(bars, settings.currency)
    instruments = [perpetual(each.instrument, settings.fee_bps, settings.currency) for each in bars]
    for instrument in instruments:
        settings.check_size(instrument)
    metadata = served_metadata(settings)
    _refuse_model(metadata, bars[0])
    trainings = [each["training"] for each in (metadata, *challengers_metadata(settings))]
    markets = [
        Market(
            _judged(each, bars, metadata, trainings, settings.in_sample),
            instrument,
            bar_type(instrument.id, each.interval_ns),
        )
        for each, instrument in zip(bars, instruments, strict=True)
    ]
    first_ts_event = min(int(market.judged.bars.ts_event[0]) for market in markets)
    last_ts_event = max(int(market.judged.bars.ts_event[-1]) for market in markets)
    actor = settings.actor([market.bar_type for market in markets], metadata, first_ts_event)
    strategies = [settings.strategy(market.instrument, metadata) for market in markets]

    def others(folder: Path) -> list[BacktestDataConfig]:
        return [] if other_data is None else other_data(folder, metadata, first_ts_event, last_ts_event)

    if settings.mode == "prefetch":
        runs = [BarsRun(market.judged.run, market.instrument, market.bar_type) for market in markets]
        ready = prefetched_bars(runs, actor, strategies, settings.spread_bps, settings.starting_balance)
    else:
        ready = _inline(markets, actor, strategies, settings, others)
    with ready as run:
        bus = run.engine.kernel.msgbus
        recorder = Recorder(bus, [instrument.id for instrument in instruments], metadata["outputs"])
        reasons = Reasons(bus, run.publisher)
        kept = settings.recorder([market.bar_type for market in markets], metadata)
        if kept is not None:
            run.engine.add_actor(OutcomeRecorder(kept))
        if on_progress is not None:
            total = sum(len(market.judged.run) for market in markets)
            count_events(bus, [f"data.bars.{market.bar_type}" for market in markets], total, on_progress)
        began = time.perf_counter()
        run.start()
        elapsed_s = time.perf_counter() - began
        return collect(
            [market.judged for market in markets], metadata, recorder, run.engine, elapsed_s, reasons, run.asked()
        )


@contextmanager
def _inline(
    markets: Sequence[Market],
    actor: BarInferenceActorConfig,
    strategies: Sequence[BarStrategyConfig],
    settings: BarBacktestSettings,
    others: Callable[[Path], list[BacktestDataConfig]],
) -> Iterator[ReadyRun]:
    with tempfile.TemporaryDirectory(prefix="catalog-") as folder:
        data = _data(markets, settings.spread_bps, actor.max_gap_ns, Path(folder)) + others(Path(folder))
        config = run_config(
            [market.instrument for market in markets],
            importable_actor(actor),
            [importable_strategy(strategy) for strategy in strategies],
            data,
            settings.starting_balance,
        )
        with built(config) as (node, engine):
            yield asked_inline(node, engine, only_actor(engine, BarInferenceActor))


def _refuse_unlike(bars: Sequence[Bars], currency: str | None) -> None:
    if not bars:
        raise BadData("bars of at least 1 instrument expected, was none")
    names = [each.instrument.instrument_id for each in bars]
    if len(set(names)) < len(names):
        raise BadData(f"bars of different instruments expected, was {', '.join(names)}")
    intervals = [f"{each.interval_ns / 1e9:g} s of {each.instrument.instrument_id}" for each in bars]
    if len({each.interval_ns for each in bars}) > 1:
        raise BadData(f"bars of one interval expected, was {', '.join(intervals)}")
    currencies = [split_symbol(each.instrument.symbol, currency)[1] for each in bars]
    if len(set(currencies)) > 1:
        quoted = ", ".join(f"{found} of {name}" for found, name in zip(currencies, names, strict=True))
        raise BadData(f"bars of one quote currency expected, was {quoted}")


def _refuse_model(metadata: Mapping[str, Any], bars: Bars) -> None:
    """Refuse a model of other features or other bars, before anything is run."""
    theirs = metadata.get("bars")
    if theirs is None or bar_schema(theirs["indicators"]).sha256 != metadata["feature_schema_sha256"]:
        ours, other = bar_schema().name, metadata["feature_schema"]["name"]
        raise SchemaMismatch(f"a model trained on features {ours} as they are computed here expected, was {other}")
    if theirs["interval_ns"] != bars.interval_ns:
        raise SchemaMismatch(
            f"a model of {bars.interval_ns / 1e9:g} s bars expected, was of {theirs['interval_ns'] / 1e9:g} s"
        )


def _judged(
    bars: Bars,
    all_bars: Sequence[Bars],
    metadata: Mapping[str, Any],
    trainings: Sequence[Mapping[str, Any]],
    in_sample: bool,
) -> JudgedBars:
    """One instrument's bars of a run, from after the last one that any of the fits saw."""
    first, note = max(
        (
            first_judged(bars, each, in_sample, "bars", beside_fitted=any(fitted_on(other, each) for other in all_bars))
            for each in trainings
        ),
        key=lambda found: found[0],
    )
    lookback = bar_schema(metadata["bars"]["indicators"]).window
    run = bars.between(max(0, first - lookback + 1), len(bars))
    warm = len(run) - (len(bars) - first)
    ends = window_ends(run.ts_event, metadata["bars"]["max_gap_ns"], lookback)
    ends = ends[ends >= warm]
    asked = int(have_volume(run.volumes(), ends).sum())
    if not asked:
        raise BadData(
            f"{bars.source}: expected {lookback} bars with volume and without a break, got fewer among {len(run)}"
        )
    return JudgedBars(run, warm, asked, len(ends) - asked, note)


def _data(markets: Sequence[Market], spread_bps: float, max_gap_ns: int, folder: Path) -> list[BacktestDataConfig]:
    """Write a catalog; its parts in the order in which data of one time are handled: all bars, then the quotes.

    No strategy sees a quote before the bar that closed with it, and no order is sent before both.
    """
    for market in markets:
        write_bar_catalog(market.judged.run, market.instrument, market.bar_type, spread_bps, max_gap_ns, folder)
    bars = [
        BacktestDataConfig(catalog_path=str(folder), data_cls=Bar, bar_types=[str(market.bar_type)])
        for market in markets
    ]
    quotes = [
        BacktestDataConfig(catalog_path=str(folder), data_cls=QuoteTick, instrument_id=market.instrument.id)
        for market in markets
    ]
    return bars + quotes
