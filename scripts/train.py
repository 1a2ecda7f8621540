"""Fit a model and write its run folder: ``python scripts/train.py tick --data trades.csv``."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from market.labels import LabelConfig
from market.source import load
from market.trades import BadData
from training.fit import FitConfig
from training.run import BadRunFolder, train_tick

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(stderr=True)


@app.callback()
def train() -> None:
    """Fit a model and write its run folder."""


@app.command()
def tick(
    data: Annotated[Path | None, typer.Option(help="CSV of trades or catalog folder; left out: simulated.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Instrument of a catalog: BTCUSDT.BINANCE.")] = None,
    trades: Annotated[int, typer.Option(min=1, help="Trades to simulate.")] = 60_000,
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/tick"),
    seed: Annotated[int, typer.Option(min=0, help="Of the fit and of the simulation.")] = 1,
    horizon: Annotated[int, typer.Option(min=1, help="Trades that a label looks ahead.")] = 20,
    cost_bps: Annotated[float, typer.Option(min=0.0, help="Move worth trading (bps).")] = 1.0,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the training part.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """BUY, SELL or HOLD from the last trades."""
    try:
        labels = LabelConfig(horizon, cost_bps)
    except ValueError as error:  # not a number
        raise typer.BadParameter(str(error)) from None
    try:
        loaded = load(data, trades, seed, instrument)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("fitting", total=epochs)
            result = train_tick(
                loaded,
                out,
                labels,
                FitConfig(epochs=epochs, seed=seed),
                on_epoch=lambda history: progress.update(task, completed=history.epochs),
            )
    except (BadData, BadRunFolder, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"run": str(out), **result.description}))
    typer.echo(f"{loaded.source}: {len(loaded)} trades, best epoch {result.best_epoch} of {result.epochs}", err=True)
    typer.echo(f"{result.evaluation['edge']}\n{out} is ready to be packed.", err=True)


if __name__ == "__main__":
    app()
