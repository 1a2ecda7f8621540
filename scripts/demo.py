"""The whole way once: train, pack, serve, trade over the inference port, report."""

import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from market.labels import LabelConfig
from market.source import load
from market.trades import BadData
from release.archive import BuildFailed, build_archive
from reporting.page import write_report
from serving.archive_import import UnreadableArchive
from serving.java import NoJava
from serving.torchserve import PROJECT, ServerSettings, StartFailed, start_server
from strategies.backtest import run_backtest
from strategies.checks import BadSetting
from strategies.console import result_table
from strategies.report import report_data, summary
from strategies.settings import BacktestSettings
from training.run_folder import BadRunFolder
from training.tick_fit import FitConfig
from training.tick_run import train_tick
from wire.errors import RequestError

console = Console(stderr=True)
EXPECTED = (
    *(BadData, BadRunFolder, BadSetting, BuildFailed, NoJava),
    *(StartFailed, UnreadableArchive, RequestError, OSError),
)


def main(
    data: Annotated[Path | None, typer.Option(help="CSV of trades or catalog folder; left out: simulated.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("reports/demo"),
    run: Annotated[Path, typer.Option(help="Folder for the trained model.")] = Path("runs/demo"),
    store: Annotated[Path, typer.Option(help="The model store.")] = PROJECT / "archives",
    home: Annotated[Path, typer.Option(help="The server's working directory.")] = PROJECT / ".server",
    trades: Annotated[int, typer.Option(min=1000, help="Trades to simulate.")] = 60_000,
    free_ports: Annotated[bool, typer.Option(help="Take free ports instead of config.properties'.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train, pack, serve, trade over the inference port, report; stops what it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    try:
        said = demo(data, out, run, store.resolve(), home.resolve(), trades, free_ports)
    except EXPECTED as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; everything that was started has been stopped", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(said))
    else:
        console.print(result_table(said))


def demo(
    data: Path | None, out: Path, run: Path, store: Path, home: Path, trades: int, free_ports: bool
) -> dict[str, object]:
    """All steps in a row."""
    with Progress(console=console) as progress:
        reading = progress.add_task("reading trades" if data else "simulating a market", total=1)
        loaded = load(data, trades, seed=1)
        progress.update(reading, completed=1)
        fitting = progress.add_task("training", total=FitConfig().epochs)
        trained = train_tick(
            loaded, run, LabelConfig(), FitConfig(), on_epoch=lambda history: progress.update(fitting, advance=1)
        )
        progress.update(fitting, completed=FitConfig().epochs)  # it may have stopped early
        packing = progress.add_task("packing archives/tick.mar", total=1)
        archive = build_archive("tick", run, "1.0", store)
        progress.update(packing, completed=1)
        serving = progress.add_task("starting TorchServe", total=1)
        server_settings = ServerSettings({"tick": archive.path.name}, store, home, free_ports=free_ports)
        with start_server(server_settings) as server:
            progress.update(serving, completed=1)
            step = Decimal(1).scaleb(-loaded.instrument.size_precision)  # 1 where sizes are whole coins
            settings = BacktestSettings(url=server.inference_url, trade_size=max(BacktestSettings.trade_size, step))
            if server.token is not None:
                os.environ[settings.token_env] = server.token
            trading = progress.add_task("trading over the inference port")
            result = run_backtest(
                loaded, settings, lambda done, total: progress.update(trading, completed=done, total=total)
            )
        said = summary(settings, result)
        said["edge"] = trained.evaluation["edge"]
        said["report"] = str(write_report(report_data(settings, result), out))
    return said


if __name__ == "__main__":
    typer.run(main)
