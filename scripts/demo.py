"""The whole way once: train, pack, serve, trade over the inference port, report."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from market.bar_source import load_bars
from market.labels import LabelConfig
from market.source import load
from market.trades import BadData
from release.archive import BuildFailed, build_archive
from reporting.evaluation_page import write_evaluation
from reporting.page import write_report
from serving.archive_import import UnreadableArchive
from serving.java import NoJava
from serving.torchserve import PROJECT, ServerSettings, StartFailed, start_server
from strategies.backtest import run_backtest
from strategies.bar_backtest import run_bar_backtest
from strategies.bar_report import summary as bar_summary
from strategies.bar_report import write_bar_reports
from strategies.bar_settings import BarBacktestSettings
from strategies.checks import BadSetting
from strategies.console import result_table
from strategies.report import report_data, summary
from strategies.settings import BacktestSettings
from training.bar_fit import BarFitConfig
from training.bar_run import train_price
from training.price_training import PriceTraining
from training.run_folder import REPORT, BadRunFolder
from training.tick_fit import FitConfig
from training.tick_run import train_tick
from training.tracking_store import TrackingFailed
from wire.errors import RequestError

console = Console(stderr=True)
EXPECTED = (
    *(BadData, BadRunFolder, BadSetting, BuildFailed, NoJava, TrackingFailed),
    *(StartFailed, UnreadableArchive, RequestError, OSError),
)
PRICE = PriceTraining(
    network_config={"hidden": 32}, fit=BarFitConfig(epochs=5, learning_rate=4e-3), folds=2
)
"""Small enough for a demo."""
Advance = Callable[[float, float], None]
"""Told how much of a step is done, and of how much."""


class Kind(StrEnum):
    """What to trade on."""

    TICKS = "ticks"
    BARS = "bars"


@dataclass(frozen=True)
class Steps:
    """The parts of the demo that differ between ticks and bars."""

    model: str
    """The archive's name."""
    size: int
    """Events to simulate."""
    train: Callable[[Path | None, int, Path, Advance], tuple[Any, dict[str, str]]]
    """Given data, events, run folder: loads and fits; returns the data and what to say of the model."""
    trade: Callable[[Any, str, Path, Advance], dict[str, Any]]
    """Given data, URL and report folder: runs the backtest and reports; returns the summary."""


def train_ticks(data: Path | None, size: int, run: Path, advance: Advance) -> tuple[Any, dict[str, str]]:
    """Fit the tick classifier."""
    loaded, config = load(data, size, seed=1), FitConfig()
    trained = train_tick(
        loaded, run, LabelConfig(), config, on_epoch=lambda history: advance(history.epochs, config.epochs)
    )
    return loaded, {"edge": trained.evaluation["edge"]}


def trade_ticks(loaded: Any, url: str, out: Path, advance: Advance) -> dict[str, Any]:
    """Run the tick strategy."""
    step = Decimal(1).scaleb(-loaded.instrument.size_precision)  # 1 where sizes are whole coins
    settings = BacktestSettings(url=url, trade_size=max(BacktestSettings.trade_size, step))
    result = run_backtest(loaded, settings, advance)
    return {**summary(settings, result), "report": str(write_report(report_data(settings, result), out))}


def train_bars(data: Path | None, size: int, run: Path, advance: Advance) -> tuple[Any, dict[str, str]]:
    """Fit a small price model."""
    loaded, total = load_bars(data, size, seed=1), PRICE.folds * PRICE.fit.epochs
    trained = train_price(
        loaded,
        run,
        PRICE,
        lambda fold, history: advance((fold - 1) * PRICE.fit.epochs + history.epochs, total),
    )
    page = write_evaluation(trained.evaluation, run / REPORT)
    return loaded, {"edge": trained.evaluation["edge"], "evaluation": str(page)}


def trade_bars(loaded: Any, url: str, out: Path, advance: Advance) -> dict[str, Any]:
    """Run the bar strategy."""
    settings = BarBacktestSettings(url=url)
    result = run_bar_backtest([loaded], settings, advance)
    return {**bar_summary(settings, result), "report": str(write_bar_reports(settings, result, out))}


stopped: list[int] = []
"""The exit status that a signal asked for."""


def stop(number: int, _: object) -> None:
    """Stop at a signal; where native code swallows the exception, at the next step forward."""
    stopped.append(128 + number)
    raise KeyboardInterrupt


STEPS = {
    Kind.TICKS: Steps("tick", 60_000, train_ticks, trade_ticks),
    Kind.BARS: Steps("price", 20_000, train_bars, trade_bars),
}


def main(
    kind: Annotated[Kind, typer.Argument(help="Trade tick by tick, or bar by bar.")] = Kind.TICKS,
    data: Annotated[Path | None, typer.Option(help="CSV or catalog folder; left out: simulated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report [reports/demo, reports/demo-bars].")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder for the trained model [runs/demo, ...].")] = None,
    store: Annotated[Path, typer.Option(help="The model store.")] = PROJECT / "archives",
    home: Annotated[Path, typer.Option(help="The server's working directory.")] = PROJECT / ".server",
    size: Annotated[int | None, typer.Option(min=1000, help="Trades or bars to simulate [60000, 20000].")] = None,
    free_ports: Annotated[bool, typer.Option(help="Take free ports instead of config.properties'.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train, pack, serve, trade over the inference port, report; stops what it started."""
    for number in (signal.SIGINT, signal.SIGTERM):  # so that the server is stopped at either
        signal.signal(number, stop)
    name = "demo" if kind is Kind.TICKS else f"demo-{kind}"
    out, run = out or Path("reports") / name, run or Path("runs") / name
    try:
        said = demo(STEPS[kind], data, size or STEPS[kind].size, out, run, store.resolve(), home.resolve(), free_ports)
    except EXPECTED as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; everything that was started has been stopped", err=True)
        raise typer.Exit(stopped[0]) from None
    if as_json:
        typer.echo(json.dumps(said))
    else:
        console.print(result_table(said))


def demo(
    steps: Steps, data: Path | None, size: int, out: Path, run: Path, store: Path, home: Path, free_ports: bool
) -> dict[str, object]:
    """All steps in a row."""
    with Progress(console=console) as progress:

        def step(name: str) -> Advance:
            task = progress.add_task(name, total=1)

            def advance(done: float, total: float) -> None:
                if stopped:
                    raise KeyboardInterrupt
                progress.update(task, completed=done, total=total)

            return advance

        training = step("reading, training" if data else "simulating a market, training")
        loaded, model = steps.train(data, size, run, training)
        training(1, 1)  # it may have stopped early
        packing = step(f"packing archives/{steps.model}.mar")
        archive = build_archive(steps.model, run, "1.0", store)
        packing(1, 1)
        serving = step("starting TorchServe")
        server_settings = ServerSettings({steps.model: archive.path.name}, store, home, free_ports=free_ports)
        with start_server(server_settings) as server:
            serving(1, 1)
            if server.token is not None:
                os.environ[BacktestSettings.token_env] = server.token
            said = steps.trade(loaded, server.inference_url, out, step("trading over the inference port"))
    return {**said, **model}


if __name__ == "__main__":
    typer.run(main)
