"""Backtest a strategy on a served model: ``nautilus-torchserve backtest tick --url http://127.0.0.1:8080``."""

from dataclasses import dataclass
from typing import Annotated

import typer

from nautilus_torchserve.cli.app import App, console, print_json, progress_bar
from nautilus_torchserve.cli.backtest_options import BarRunOptions, BarSources, QuotedTradeSource, RunOptions
from nautilus_torchserve.cli.data_options import BarCount, News, NewsDelay
from nautilus_torchserve.cli.data_options import Trades as TradeCount
from nautilus_torchserve.cli.options import Model, duration, seed_option
from nautilus_torchserve.cli.own_model import CustomCatalog, EventCount, QuoteFiles, Spec, StrategyOptions, load_market
from nautilus_torchserve.cli.sweep_console import latency_table, result_table
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.market import market_of
from nautilus_torchserve.trading.backtest.news.market import BarsAndNews, NewsBacktestSettings
from nautilus_torchserve.trading.backtest.report import summary, write_reports
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import Data, run_backtest
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.latency_sweep import (
    LatencySweep,
    parse_latencies,
    shown,
    sweep_latencies,
    write_latency_report,
)
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import UserError

app = App(no_args_is_help=True, default_command="own")

Seed = Annotated[int, seed_option("simulation")]


@dataclass(frozen=True)
class TickOptions:
    """Options of the strategy on tick predictions: fields of `BacktestSettings`."""

    cooldown_ns: Annotated[int, duration("Minimum time between orders.", "--cooldown")] = "1s"  # type: ignore[assignment]
    min_probability: Annotated[float, typer.Option(help="Minimum probability of BUY or SELL to act on.")] = 0.45


@dataclass(frozen=True)
class BarOptions:
    """Options of the strategy on predicted returns: fields of `BarBacktestSettings`."""

    horizon_ns: Annotated[
        int | None, duration("Holding period of a signal; default: the model's label horizon.", "--horizon")
    ] = None
    min_confidence: Annotated[float, typer.Option(help="Minimum confidence in the return's sign to act on.")] = 0.52
    cost_bps: Annotated[
        float | None, typer.Option(help="Minimum move worth trading (bps); default: fees and spread.")
    ] = None
    spread_bps: Annotated[float, typer.Option(help="Assumed bid-ask spread (bps).")] = 1.0


@dataclass(frozen=True)
class NewsOptions(BarOptions):
    """Options of the strategy on bars and news: fields of `NewsBacktestSettings`."""

    require_news: Annotated[
        bool, typer.Option("--require-news", help="Enter only on forecasts with at least one headline.")
    ] = False
    veto_score: Annotated[
        float | None, typer.Option(help="Strength of sentiment that no position is entered against; default: no veto.")
    ] = None


@app.callback()
def backtest() -> None:
    """Backtest a strategy on a served model."""


@app.command()
def tick(
    source: QuotedTradeSource,
    strategy: TickOptions,
    run: RunOptions,
    trades: TradeCount = 60_000,
    seed: Seed = 1,
    model: Model = "tick",
) -> None:
    """Go long on BUY and short on SELL, predicted by the tick model trade by trade."""
    settings = BacktestSettings(model=model, **vars(strategy), **run.settings())
    carry_out(run, settings, source.load_with_quotes(trades, seed))


@app.command()
def price(
    sources: BarSources,
    strategy: BarOptions,
    run: BarRunOptions,
    bars: BarCount = 20_000,
    seed: Seed = 1,
    model: Model = "price",
) -> None:
    """Go long or short on the next bar's predicted return where it exceeds the costs."""
    settings = BarBacktestSettings(model=model, **vars(strategy), **run.settings())
    carry_out(run, settings, sources.load(bars, seed))


@app.command()
def news(
    sources: BarSources,
    strategy: NewsOptions,
    run: BarRunOptions,
    news: News = None,
    news_delay: NewsDelay = None,
    bars: BarCount = 20_000,
    seed: Seed = 1,
    model: Model = "ensemble",
) -> None:
    """Trade as `price` does, on predictions from bars and headlines."""
    settings = NewsBacktestSettings(model=model, **vars(strategy), **run.settings())
    carry_out(run, settings, BarsAndNews(*sources.load_with_news(news, news_delay, bars, seed)))


@app.command()
def own(
    spec: Spec,
    sources: BarSources,
    strategy: StrategyOptions,
    run: RunOptions,
    quotes: QuoteFiles = None,
    custom: CustomCatalog = None,
    events: EventCount = 60_000,
    seed: Seed = 1,
    model: Annotated[str | None, typer.Option(help="Model (registered name); default: the spec's.")] = None,
) -> None:
    """A model of your own, as its spec says; the word may be left out: backtest model_defs.my_model:SPEC."""
    name = model or spec_of(spec).name
    settings = FeatureBacktestSettings(spec=spec, model=name, **strategy.settings(), **run.settings())
    carry_out(run, settings, load_market(spec, sources, events, seed, quotes or (), custom))


def carry_out(run: RunOptions, settings: RunSettings, data: Data) -> None:
    """Run once, or at each latency of the sweep, and print the result."""
    if run.report is not None and settings.traffic is not None:
        raise typer.BadParameter("expected no --report beside --traffic: a report is about one version")
    provide_token(settings.token_env, settings.url, run.token_file)

    def backtest_with(changed: RunSettings) -> BacktestResult:
        with progress_bar(f"{market_of(changed).noun}s") as on_progress:
            return run_backtest(data, changed, on_progress)

    if run.latency_sweep is not None:
        print_sweep(run, settings, sweep_latencies(backtest_with, settings, parse_latencies(run.latency_sweep)))
        return
    result = backtest_with(settings)
    report = summary(settings, result)
    if run.report is not None:
        report["report"] = str(write_reports(settings, result, run.report))
    if run.as_json:
        print_json(report)
    else:
        console.print(result_table(report))
    if result.gave_up:
        raise UserError(f"the model stopped answering: {result.last_error}")


def print_sweep(run: RunOptions, settings: RunSettings, swept: LatencySweep) -> None:
    """Print what a millisecond costs; raise where the model stopped answering."""
    report = swept.as_dict()
    if run.report is not None:
        report["report"] = str(write_latency_report(swept, settings, run.report))
    if run.as_json:
        print_json(report)
    else:
        console.print(latency_table(swept))
        console.print(report.get("report", ""))
    for point in swept.runs:
        if point.outcome.gave_up:
            error = point.outcome.last_error
            raise UserError(f"at {shown(point.latency_ns)} the model stopped answering: {error}")
