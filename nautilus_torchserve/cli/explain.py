"""Say which inputs drove a model: ``python scripts/explain.py trade reports/demo --trade 3``."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from nautilus_torchserve.cli.app import App
from nautilus_torchserve.cli.data_options import AllowJumps, BarsData, Instrument, Stamp, Timezone
from nautilus_torchserve.cli.explanation_console import explanation_lines, trade_line
from nautilus_torchserve.cli.options import LOCAL, Json, TokenFile, Url, Version, seed_option
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.reporting.backtest.trade_log import read_trades
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.explain import explain_trade
from nautilus_torchserve.trading.bars.last_window import last_window
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.wire.errors import SchemaMismatch
from nautilus_torchserve.wire.news_windows import NewsWindow

TOKEN = "TORCHSERVE_TOKEN"
app = App(no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--model", help="Model: its registered name; default: the command's.")]
Output = Annotated[str | None, typer.Option(help="Which output to explain; default: the model's own choice.")]
Seed = Annotated[int, seed_option("the simulation")]


@app.callback()
def explain() -> None:
    """Say which inputs drove a model, by integrated gradients."""


@app.command(context_settings={"ignore_unknown_options": True})
def tick(
    row: Annotated[list[float], typer.Argument(help="return_bps flow_imbalance relative_size relative_gap")],
    url: Url = LOCAL,
    model: Name = None,
    version: Version = None,
    output: Output = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Explain the tick model's probability for one row of features."""
    inputs = np.array([row], dtype=np.float32)
    said = asked(url, model or "tick", version, token_file, lambda client: inputs, output)
    tell(said, as_json)


@app.command()
def price(
    url: Url = LOCAL,
    data: BarsData = None,
    instrument: Instrument = None,
    stamp: Stamp = "open",
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    seed: Seed = 1,
    model: Name = None,
    version: Version = None,
    output: Output = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Explain the price model's forecast for the last window of some bars."""
    bars = load_bars(data, 400, seed, instrument, read=ReadOptions(stamp, timezone, allow_jumps))

    def window(client: InferenceClient) -> Inputs:
        return last_window(bars, of_bars(client))[np.newaxis]

    said = asked(url, model or "price", version, token_file, window, output)
    tell(said, as_json)


@app.command()
def sentiment(
    texts: Annotated[list[str], typer.Argument(help="One or several texts.")],
    url: Url = LOCAL,
    model: Name = None,
    version: Version = None,
    output: Output = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Explain the sentiment model's score for texts."""
    said = asked(url, model or "sentiment", version, token_file, lambda client: texts, output)
    tell(said, as_json)


@app.command()
def ensemble(
    texts: Annotated[list[str] | None, typer.Argument(help="Headlines about the instrument, just received.")] = None,
    url: Url = LOCAL,
    data: BarsData = None,
    instrument: Instrument = None,
    stamp: Stamp = "open",
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    seed: Seed = 1,
    model: Name = None,
    version: Version = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Explain the ensemble's log odds of a rise for the last window of some bars, and news about them."""
    bars = load_bars(data, 400, seed, instrument, read=ReadOptions(stamp, timezone, allow_jumps))

    def window(client: InferenceClient) -> Inputs:
        return [NewsWindow(last_window(bars, of_bars(client)), tuple(texts or ()))]

    said = asked(url, model or "ensemble", version, token_file, window, None)
    tell(said, as_json)


@app.command()
def trade(
    report: Annotated[Path, typer.Argument(help="A backtest's report folder.")],
    number: Annotated[
        int | None, typer.Option("--trade", help="Number of the trade; default: the most profitable one.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Inference port: its URL, or mar:PATH of an archive; default: the backtest's.")
    ] = None,
    any_version: Annotated[bool, typer.Option("--any-version", help="Whichever archive answers there.")] = False,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Explain the prediction that a backtest's trade was opened on."""
    log = read_trades(report)
    best = log.best()
    chosen = log.trade(number if number is not None else best.number if best is not None else 1)
    provide_token(TOKEN, url or log.url, token_file)
    explained = explain_trade(log, chosen, url, os.environ.get(TOKEN), any_version)
    if as_json:
        typer.echo(json.dumps(explained))
    else:
        console = Console(markup=False)
        console.print(trade_line(explained), highlight=False)
        console.print(*explanation_lines(explained["explanation"]), sep="\n")


def asked(
    url: str,
    model: str,
    version: str | None,
    token_file: Path | None,
    inputs: Callable[[InferenceClient], Inputs],
    output: str | None,
) -> dict[str, Any]:
    """One request's explanations, with who gave them."""
    provide_token(TOKEN, url, token_file)
    with connect(url, model, version, token=os.environ.get(TOKEN)) as client:
        explained = client.explain(inputs(client), output)
    who = {"model": model, "version": explained.version, "archive_digest": explained.digest}
    return {**who, "explanations": explained.explanations}


def of_bars(client: InferenceClient) -> ModelMetadata:
    """The metadata of a model of bars."""
    if not client.metadata.takes_bars:
        raise SchemaMismatch(f"a model of bars expected, was one that takes {client.metadata.inputs}")
    return client.metadata


def tell(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(said))
        return
    console = Console(markup=False)
    for explanation in said["explanations"]:
        console.print(*explanation_lines(explanation), sep="\n")
