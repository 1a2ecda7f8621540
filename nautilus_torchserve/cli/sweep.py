"""Many backtests over a grid of settings: ``nautilus-torchserve sweep tick --set min_probability=0.4,0.45,0.5``."""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from nautilus_torchserve.cli.app import App, console, print_json, progress_bar
from nautilus_torchserve.cli.backtest_options import BarSources, EngineOptions, QuotedTradeSource
from nautilus_torchserve.cli.data_options import BarCount
from nautilus_torchserve.cli.data_options import Trades as TradeCount
from nautilus_torchserve.cli.options import Json, Model, Report, seed_option
from nautilus_torchserve.cli.own_model import CustomCatalog, EventCount, Spec, load_market
from nautilus_torchserve.cli.sweep_console import show
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.run import Data
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.grid import combinations, parse_grid
from nautilus_torchserve.trading.backtest.sweeps.parameter_sweep import Run, sweep_parameters, write_sweep_report
from nautilus_torchserve.trading.backtest.sweeps.point import Plan
from nautilus_torchserve.trading.backtest.sweeps.processes import run_in_processes
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import UserError

app = App(no_args_is_help=True, default_command="own")


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of every sweep."""

    changed: Annotated[list[str], typer.Option("--set", help="Setting: FIELD=VALUE,VALUE; repeatable.")]
    jobs: Annotated[int, typer.Option(min=1, help="Number of parallel backtests.")] = 2
    ray: Annotated[
        str | None,
        typer.Option(
            help="Run on Ray: local (with --jobs CPUs), or HOST:PORT of its head; default: in local processes."
        ),
    ] = None
    drawn: Annotated[
        int | None, typer.Option("--random", min=1, help="Number of combinations to sample at random; default: all.")
    ] = None
    seed: Annotated[int, seed_option("--random and simulation")] = 1
    engine: EngineOptions
    report: Report = None
    as_json: Json = False


@app.callback()
def sweep() -> None:
    """Backtest many settings in parallel, with one shared server."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are ended then too


@app.command()
def tick(options: SweepOptions, source: QuotedTradeSource, trades: TradeCount = 60_000, model: Model = "tick") -> None:
    """Sweep fields of `BacktestSettings` (nautilus_torchserve.trading.backtest.tick.settings)."""
    settings = BacktestSettings(model=model, mode="prefetch", **options.engine.settings())
    carry_out(options, settings, lambda: source.load_with_quotes(trades, options.seed))


@app.command()
def price(options: SweepOptions, sources: BarSources, bars: BarCount = 20_000, model: Model = "price") -> None:
    """Sweep fields of `BarBacktestSettings` (nautilus_torchserve.trading.backtest.bars.settings)."""
    settings = BarBacktestSettings(model=model, mode="prefetch", **options.engine.settings())
    carry_out(options, settings, lambda: sources.load(bars, options.seed))


@app.command()
def own(
    spec: Spec,
    options: SweepOptions,
    sources: BarSources,
    strategy: Annotated[str | None, typer.Option(help="Strategy: my_strategies:Name; default: the spec's.")] = None,
    custom: CustomCatalog = None,
    events: EventCount = 60_000,
    model: Annotated[str | None, typer.Option(help="Model (registered name); default: the spec's.")] = None,
) -> None:
    """Sweep fields of `FeatureBacktestSettings` and of the strategy; the word may be left out: sweep SPEC."""
    name = model or spec_of(spec).name
    settings = FeatureBacktestSettings(
        spec=spec, model=name, mode="prefetch", strategy_path=strategy, **options.engine.settings()
    )
    carry_out(options, settings, lambda: load_market(spec, sources, events, options.seed, custom=custom))


def carry_out(options: SweepOptions, settings: RunSettings, load: Callable[[], Data]) -> None:
    """Run the combinations and print what came of them."""
    grid = parse_grid(settings, options.changed)
    tried = combinations(grid, options.drawn, options.seed)
    provide_token(settings.token_env, settings.url, options.engine.token_file)
    plan = Plan(load(), settings)
    began = time.perf_counter()
    with progress_bar("backtests") as on_done:
        swept = sweep_parameters(plan, grid, tried, runner(options.jobs, options.ray, on_done))
    document = {**swept.as_dict(), "elapsed_s": time.perf_counter() - began}
    if options.report is not None and len(swept.failed) < len(swept.trials):
        document["report"] = str(write_sweep_report(swept, settings, options.report))
    if options.as_json:
        print_json(document)
    else:
        show(swept, console)
        if "report" in document:
            console.print(document["report"], soft_wrap=True, highlight=False)
    if swept.failed:
        first = swept.failed[0].error
        raise UserError(f"{len(swept.failed):,} of {len(swept.trials):,} backtests failed; the first: {first}")


def runner(jobs: int, ray: str | None, on_done: Callable[[int, int], None]) -> Run:
    """Return what runs the combinations: processes, or Ray."""
    if ray is None:
        return lambda plan, tried: run_in_processes(plan, tried, jobs, on_done)
    try:
        from nautilus_torchserve.trading.backtest.sweeps.on_ray import run_on_ray
    except ModuleNotFoundError:
        raise UserError("--ray: expected Ray, which is not installed: pip install -e '.[ray]'") from None
    return lambda plan, tried: run_on_ray(plan, tried, jobs, ray, on_done)
