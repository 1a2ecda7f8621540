"""Backtest a strategy on a served model: ``nautilus-torchserve backtest tick --url http://127.0.0.1:8080``."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from nautilus_torchserve.cli.app import App, console, progress_bar
from nautilus_torchserve.cli.backtest_options import RunOptions, takes_run_options
from nautilus_torchserve.cli.data_options import (
    AllowJumps,
    BarCount,
    Instrument,
    News,
    NewsDelay,
    Stamp,
    Timezone,
    TradesData,
    bar_length,
)
from nautilus_torchserve.cli.data_options import (
    Trades as TradeCount,
)
from nautilus_torchserve.cli.options import Model, duration, seed_option
from nautilus_torchserve.cli.sweep_console import latency_table, result_table
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.news.load import load_news_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.market import market_of
from nautilus_torchserve.trading.backtest.news.market import BarsAndNews, NewsBacktestSettings
from nautilus_torchserve.trading.backtest.report import summary, write_reports
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import Data, run_backtest
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.latency_sweep import (
    parse_latencies,
    shown,
    sweep_latencies,
    write_latency_report,
)
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.bars.types import parse_interval
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import UserError

app = App(no_args_is_help=True)

Seed = Annotated[int, seed_option("the simulation")]
Interval = Annotated[int | None, bar_length(parse_interval)]
Horizon = Annotated[int | None, duration("How long a signal holds; default: the model's label horizon.")]
BarFiles = Annotated[
    list[Path] | None,
    typer.Option(help="Data to read: CSV of bars, or a catalog's folder; repeatable; default: simulated."),
]
Names = Annotated[
    list[str] | None, typer.Option(help="Instrument: of a catalog, or of CSV, in the order of --data; repeatable.")
]
Confidence = Annotated[float, typer.Option(help="Confidence in the return's sign, to act on.")]
Cost = Annotated[float | None, typer.Option(help="Least move worth trading (bps); default: fees and spread.")]
Spread = Annotated[float, typer.Option(help="Bid to ask, assumed (bps).")]


@app.callback()
def backtest() -> None:
    """Backtest a strategy on a served model."""


@app.command()
@takes_run_options(latency="1ms")
def tick(
    run: RunOptions,
    data: TradesData = None,
    instrument: Instrument = None,
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    trades: TradeCount = 60_000,
    seed: Seed = 1,
    model: Model = "tick",
    cooldown: Annotated[int, duration("Least time between orders.")] = "1s",  # type: ignore[assignment]
    min_probability: Annotated[float, typer.Option(help="Probability of BUY or SELL, to act on.")] = 0.45,
) -> None:
    """Long on BUY, short on SELL, as the tick model says trade by trade."""
    settings = BacktestSettings(model=model, cooldown_ns=cooldown, min_probability=min_probability, **run.settings)
    provide_token(settings.token_env, settings.url, run.token_file)
    loaded = load(data, trades, seed, instrument, ReadOptions(timezone=timezone, allow_jumps=allow_jumps))
    show_notes([loaded])

    carry_out(run, settings, loaded)


@app.command()
@takes_run_options(latency="10ms")
def price(
    run: RunOptions,
    data: BarFiles = None,
    instrument: Names = None,
    bar: Interval = None,
    stamp: Stamp = "open",
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    bars: BarCount = 20_000,
    seed: Seed = 1,
    model: Model = "price",
    horizon: Horizon = None,
    min_confidence: Confidence = 0.52,
    cost_bps: Cost = None,
    spread_bps: Spread = 1.0,
) -> None:
    """Long or short on the next bar's expected return, where it exceeds the costs."""
    settings = BarBacktestSettings(
        model=model,
        horizon_ns=horizon,
        min_confidence=min_confidence,
        cost_bps=cost_bps,
        spread_bps=spread_bps,
        **run.settings,
    )
    provide_token(settings.token_env, settings.url, run.token_file)
    read = ReadOptions(stamp, timezone, allow_jumps)
    loaded = [load_bars(path, bars, seed, name, bar, read) for path, name in pairs(data, instrument)]
    show_notes(loaded)

    carry_out(run, settings, loaded)


@app.command()
@takes_run_options(latency="10ms")
def news(
    run: RunOptions,
    data: BarFiles = None,
    news: News = None,
    news_delay: NewsDelay = None,
    instrument: Names = None,
    bar: Interval = None,
    stamp: Stamp = "open",
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    bars: BarCount = 20_000,
    seed: Seed = 1,
    model: Model = "ensemble",
    horizon: Horizon = None,
    min_confidence: Confidence = 0.52,
    cost_bps: Cost = None,
    require_news: Annotated[bool, typer.Option("--require-news", help="Enter only where news counted.")] = False,
    veto_score: Annotated[
        float | None, typer.Option(help="Never enter against so strong a sentiment; default: any.")
    ] = None,
    spread_bps: Spread = 1.0,
) -> None:
    """As price, on what bars and headlines together say of the next bar."""
    settings = NewsBacktestSettings(
        model=model,
        horizon_ns=horizon,
        min_confidence=min_confidence,
        cost_bps=cost_bps,
        require_news=require_news,
        veto_score=veto_score,
        spread_bps=spread_bps,
        **run.settings,
    )
    provide_token(settings.token_env, settings.url, run.token_file)
    read = ReadOptions(stamp, timezone, allow_jumps)
    loaded, headlines = [], {}  # a headline on several instruments is loaded with each of them
    for path, name in pairs(data, instrument):
        found, mentioned = load_news_bars(path, news, bars, seed, name, bar, read, news_delay)
        loaded.append(found)
        headlines.update(dict.fromkeys(mentioned))
    show_notes(loaded)

    carry_out(run, settings, BarsAndNews(loaded, list(headlines)))


def show_notes(loaded: Sequence[Trades | Bars]) -> None:
    """What was assumed or let through in reading the data."""
    for note in dict.fromkeys(note for each in loaded for note in reading_notes(each)):
        typer.echo(note, err=True)


def carry_out(run: RunOptions, settings: RunSettings, data: Data) -> None:
    """Run once, or at each latency of the sweep, and print the result."""
    if run.report is not None and settings.traffic is not None:
        raise typer.BadParameter("expected no --report beside --traffic: a report is about one version")

    def backtest_with(changed: RunSettings) -> BacktestResult:
        with progress_bar(f"{market_of(changed).noun}s") as on_progress:
            return run_backtest(data, changed, on_progress)

    if run.latency_sweep is not None:
        sweep(run, settings, backtest_with)
        return
    result = backtest_with(settings)
    report = summary(settings, result)
    if run.report is not None:
        report["report"] = str(write_reports(settings, result, run.report))
    if run.as_json:
        typer.echo(json.dumps(report))
    else:
        console.print(result_table(report))
    if result.gave_up:
        raise UserError(f"the model stopped answering: {result.last_error}")


def sweep(run: RunOptions, settings: RunSettings, backtest_with: Callable[[RunSettings], BacktestResult]) -> None:
    """Run at each latency, and print what a millisecond costs."""
    assert run.latency_sweep is not None
    swept = sweep_latencies(backtest_with, settings, parse_latencies(run.latency_sweep))
    report = swept.as_dict()
    if run.report is not None:
        report["report"] = str(write_latency_report(swept, settings, run.report))
    if run.as_json:
        typer.echo(json.dumps(report))
    else:
        console.print(latency_table(swept))
        console.print(report.get("report", ""))
    for each in swept.runs:
        if each.outcome.gave_up:
            raise UserError(f"at {shown(each.latency_ns)} the model stopped answering: {each.outcome.last_error}")


def pairs(data: list[Path] | None, instrument: list[str] | None) -> list[tuple[Path | None, str | None]]:
    """Where each instrument's bars are; of one catalog, several instruments may be named."""
    paths: list[Path | None] = [*data] if data else [None]
    names: list[str | None] = [*instrument] if instrument else [None] * len(paths)
    if len(paths) == 1:
        paths *= len(names)
    if len(paths) != len(names):
        raise typer.BadParameter(f"expected as many --instrument as --data, got {len(names)} for {len(paths)}")
    return list(zip(paths, names, strict=True))
