"""Many backtests over a grid of settings: ``nautilus-torchserve sweep tick --set min_probability=0.4,0.45,0.5``."""

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nautilus_torchserve.cli.app import App, console, progress_bar
from nautilus_torchserve.cli.backtest_options import takes_instrument_options
from nautilus_torchserve.cli.data_options import (
    AllowJumps,
    Balance,
    BarCount,
    BarsData,
    InSample,
    Instrument,
    Stamp,
    Timezone,
    TradesData,
)
from nautilus_torchserve.cli.data_options import (
    Trades as TradeCount,
)
from nautilus_torchserve.cli.options import LOCAL, Json, Model, Report, TokenFile, Url, Version, seed_option
from nautilus_torchserve.cli.sweep_console import show
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.grid import Combination, combinations, parse_grid
from nautilus_torchserve.trading.backtest.sweeps.parameter_sweep import (
    ParameterSweep,
    Run,
    sweep_parameters,
    write_sweep_report,
)
from nautilus_torchserve.trading.backtest.sweeps.point import Plan, SweepPoint
from nautilus_torchserve.trading.backtest.sweeps.processes import run_in_processes
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import UserError

app = App(no_args_is_help=True)

Set = Annotated[list[str], typer.Option("--set", help="Setting: FIELD=VALUE,VALUE of the backtest's; repeatable.")]
Jobs = Annotated[int, typer.Option(min=1, help="Backtests at a time.")]
Address = Annotated[
    str | None,
    typer.Option("--ray", help="Run on Ray: local, of --jobs CPUs, or its head's HOST:PORT; default: processes."),
]
Drawn = Annotated[int | None, typer.Option("--random", min=1, help="Run so many combinations, drawn; default: all.")]
Seed = Annotated[int, seed_option("--random, and of the simulation")]


@app.callback()
def sweep() -> None:
    """Backtest many settings in parallel, with one shared server."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are ended then too


@app.command()
@takes_instrument_options
def tick(
    instruments: InstrumentOptions,
    changed: Set,
    url: Url = LOCAL,
    data: TradesData = None,
    instrument: Instrument = None,
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    trades: TradeCount = 60_000,
    model: Model = "tick",
    version: Version = None,
    token_file: TokenFile = None,
    jobs: Jobs = 2,
    ray: Address = None,
    drawn: Drawn = None,
    seed: Seed = 1,
    balance: Balance = "10000",  # type: ignore[assignment]
    in_sample: InSample = False,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Sweep fields of `BacktestSettings` (nautilus_torchserve.trading.backtest.tick.settings)."""
    settings = BacktestSettings(
        url=url, model=model, version=version, in_sample=in_sample, mode="prefetch", starting_balance=balance,
        instruments=instruments,
    )  # fmt: skip
    read = ReadOptions(timezone=timezone, allow_jumps=allow_jumps)
    found = run(
        changed, settings, token_file, lambda: load(data, trades, seed, instrument, read), jobs, ray, drawn, seed
    )
    tell(*found, settings, report, as_json)


@app.command()
@takes_instrument_options
def price(
    instruments: InstrumentOptions,
    changed: Set,
    url: Url = LOCAL,
    data: BarsData = None,
    instrument: Instrument = None,
    stamp: Stamp = "open",
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    bars: BarCount = 20_000,
    model: Model = "price",
    version: Version = None,
    token_file: TokenFile = None,
    jobs: Jobs = 2,
    ray: Address = None,
    drawn: Drawn = None,
    seed: Seed = 1,
    balance: Balance = "10000",  # type: ignore[assignment]
    in_sample: InSample = False,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Sweep fields of `BarBacktestSettings` (nautilus_torchserve.trading.backtest.bars.settings)."""
    settings = BarBacktestSettings(
        url=url, model=model, version=version, in_sample=in_sample, mode="prefetch", starting_balance=balance,
        instruments=instruments,
    )  # fmt: skip
    read = ReadOptions(stamp, timezone, allow_jumps)

    def loaded() -> list[Bars]:
        return [load_bars(data, bars, seed, instrument, read=read)]

    found = run(changed, settings, token_file, loaded, jobs, ray, drawn, seed)
    tell(*found, settings, report, as_json)


def run(
    changed: list[str],
    settings: RunSettings,
    token_file: Path | None,
    loaded: Callable[[], Trades | list[Bars]],
    jobs: int,
    ray: str | None,
    drawn: int | None,
    seed: int,
) -> tuple[ParameterSweep, float]:
    """The sweep, and how long it took."""
    grid = parse_grid(type(settings), changed)
    tried = combinations(grid, drawn, seed)
    provide_token(settings.token_env, settings.url, token_file)
    data = loaded()
    for note in (note for each in (data if isinstance(data, list) else [data]) for note in reading_notes(each)):
        typer.echo(note, err=True)
    plan = Plan(data, settings)
    began = time.perf_counter()
    with progress_bar("backtests") as on_done:
        return sweep_parameters(plan, grid, tried, runner(jobs, ray, on_done)), time.perf_counter() - began


def runner(jobs: int, ray: str | None, on_done: Callable[[int, int], None]) -> Run:
    """What tries the combinations: processes, or Ray."""
    if ray is None:
        return lambda plan, tried: run_in_processes(plan, tried, jobs, on_done)
    try:
        from nautilus_torchserve.trading.backtest.sweeps.on_ray import run_on_ray
    except ModuleNotFoundError:
        raise UserError("--ray: expected Ray, which is not installed: pip install -e '.[ray]'") from None

    def on_ray(plan: Plan, tried: Sequence[Combination]) -> list[SweepPoint]:
        return run_on_ray(plan, tried, jobs, ray, on_done)

    return on_ray


def tell(
    found: ParameterSweep,
    elapsed_s: float,
    settings: RunSettings,
    report: Path | None,
    as_json: bool,
) -> None:
    said: dict[str, Any] = {**found.as_dict(), "elapsed_s": elapsed_s}
    if report is not None and len(found.failed) < len(found.trials):
        said["report"] = str(write_sweep_report(found, settings, report))
    if as_json:
        typer.echo(json.dumps(said))
    else:
        show(found, console)
        if "report" in said:
            console.print(said["report"], soft_wrap=True, highlight=False)
    if found.failed:
        first = found.failed[0].error
        raise UserError(f"{len(found.failed):,} of {len(found.trials):,} backtests failed; the first: {first}")
