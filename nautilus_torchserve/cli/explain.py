"""Attribute predictions to their inputs: ``nautilus-torchserve explain trade reports/demo --trade 3``."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from nautilus_torchserve.cli.app import App
from nautilus_torchserve.cli.data_options import AllowJumps, BarsData, Instrument, Stamp, Timezone
from nautilus_torchserve.cli.options import LOCAL, Json, TokenFile, Url, Version, seed_option
from nautilus_torchserve.features.bar import bar_columns, bar_schema, have_volume, window_ends, windows
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.models.table import MODELS
from nautilus_torchserve.reporting.backtest.trade_log import read_trades
from nautilus_torchserve.reporting.explanation.sentences import Driver, amount, sentences, strongest
from nautilus_torchserve.reporting.fragments import moment
from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.explain import explain_trade
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.wire.errors import SchemaMismatch
from nautilus_torchserve.wire.news_windows import NewsWindow

HALF = 20
"""Characters of the longest bar."""
TOKEN = "TORCHSERVE_TOKEN"
app = App(no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--model", help="Model: its registered name; default: the command's.")]
Output = Annotated[str | None, typer.Option(help="Which output to explain; default: the model's own choice.")]
Seed = Annotated[int, seed_option("the simulation")]


Command = Callable[..., None]


@app.callback()
def explain() -> None:
    """Attribute predictions to their inputs, by integrated gradients."""


def row_command(default_model: str) -> Command:
    """Return the command of a model of feature rows."""

    def explain_row(
        row: Annotated[list[float], typer.Argument(help="Features of one row, in the order of the schema.")],
        url: Url = LOCAL,
        model: Name = None,
        version: Version = None,
        output: Output = None,
        token_file: TokenFile = None,
        as_json: Json = False,
    ) -> None:
        inputs = np.array([row], dtype=np.float32)
        print_explanations(url, model or default_model, version, token_file, lambda client: inputs, output, as_json)

    return explain_row


def window_command(default_model: str) -> Command:
    """Return the command of a model of windows of bars."""

    def explain_window(
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
        bars = load_bars(data, 400, seed, instrument, read=ReadOptions(stamp, timezone, allow_jumps))

        def window(client: InferenceClient) -> Inputs:
            return last_window(bars, bar_metadata(client))[np.newaxis]

        print_explanations(url, model or default_model, version, token_file, window, output, as_json)

    return explain_window


def text_command(default_model: str) -> Command:
    """Return the command of a model of texts."""

    def explain_texts(
        texts: Annotated[list[str], typer.Argument(help="One or several texts.")],
        url: Url = LOCAL,
        model: Name = None,
        version: Version = None,
        output: Output = None,
        token_file: TokenFile = None,
        as_json: Json = False,
    ) -> None:
        print_explanations(url, model or default_model, version, token_file, lambda client: texts, output, as_json)

    return explain_texts


def news_window_command(default_model: str) -> Command:
    """Return the command of a model of windows of bars with headlines."""

    def explain_news_window(
        texts: Annotated[list[str] | None, typer.Argument(help="Headlines on the instrument, just received.")] = None,
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
        bars = load_bars(data, 400, seed, instrument, read=ReadOptions(stamp, timezone, allow_jumps))

        def window(client: InferenceClient) -> Inputs:
            return [NewsWindow(last_window(bars, bar_metadata(client)), tuple(texts or ()))]

        print_explanations(url, model or default_model, version, token_file, window, None, as_json)

    return explain_news_window


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


def print_explanations(
    url: str,
    model: str,
    version: str | None,
    token_file: Path | None,
    inputs: Callable[[InferenceClient], Inputs],
    output: str | None,
    as_json: bool,
) -> None:
    """Request the explanations of some inputs and print them."""
    provide_token(TOKEN, url, token_file)
    with connect(url, model, version, token=os.environ.get(TOKEN)) as client:
        response = client.explain(inputs(client), output)
    if as_json:
        served = {"model": model, "version": response.version, "archive_digest": response.digest}
        typer.echo(json.dumps({**served, "explanations": response.explanations}))
        return
    console = Console(markup=False)
    for explanation in response.explanations:
        console.print(*explanation_lines(explanation), sep="\n")


def bar_metadata(client: InferenceClient) -> ModelMetadata:
    """Return the metadata of a model of bars; raise `SchemaMismatch` for another model."""
    if not client.metadata.takes_bars:
        raise SchemaMismatch(f"expected a model of bars, got one that takes {client.metadata.inputs}")
    return client.metadata


COMMANDS: Mapping[tuple[str, ...], tuple[Callable[[str], Command], str, dict[str, Any]]] = {
    ("trades",): (row_command, "Explain an output for one row of features.", {"ignore_unknown_options": True}),
    ("bars",): (window_command, "Explain a forecast for the last window of some bars.", {}),
    ("texts",): (text_command, "Explain an output for texts.", {}),
    ("bars", "texts"): (news_window_command, "Explain a forecast for the last window of some bars and news.", {}),
}
"""Data that inputs are made of -> the command, its help, and the settings of its context: features may be negative."""
for _spec in MODELS.values():
    _make, _help, _context = COMMANDS[_spec.features.data]
    app.command(_spec.name, help=_help, context_settings=_context)(_make(_spec.name))


def explanation_lines(explanation: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Sentences, a table of bars, and for texts the text with its words coloured."""
    for sentence in sentences(explanation):
        yield Text(sentence)
    yield _bars(strongest(explanation), explanation["output"])
    texts = [explanation] if "tokens" in explanation else (explanation.get("news") or {"texts": ()})["texts"]
    for text in texts:
        yield _coloured(text)


def trade_line(explained: Mapping[str, Any]) -> str:
    """Which trade it was; ``explained`` is what `trading.backtest.explain.explain_trade` gives."""
    trade = explained["trade"]
    outputs = ", ".join(f"{name} {value:.4g}" for name, value in trade["outputs"].items())
    return (
        f"Trade {trade['number']} on {explained['instrument_id']}: {trade['side']} {trade['quantity']:g} at "
        f"{trade['price_opened']:,.8g} on {moment(trade['ts_opened'])}, closed at {trade['price_closed']:,.8g} on "
        f"{moment(trade['ts_closed'])}, P&L {trade['pnl']:+,.4g} {explained['currency']}. "
        f"{explained['model']} {explained['version']} had predicted: {outputs}."
    )


def _bars(drivers: list[Driver], output: str) -> Table:
    most = max((abs(driver.attribution) for driver in drivers), default=0.0) or 1.0
    table = Table(box=None, pad_edge=False)
    for name, justify in (("input", "left"), ("was", "right"), ("down", "right"), ("up", "left"), ("part", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for driver in drivers:
        bar = "\N{FULL BLOCK}" * round(HALF * abs(driver.attribution) / most)
        down, up = ("", bar) if driver.attribution > 0 else (bar, "")
        part = amount(driver.attribution, output, sign=True)
        table.add_row(driver.name, driver.detail, Text(down, "dark_orange3"), Text(up, "dodger_blue2"), part)
    return table


def _coloured(text: Mapping[str, Any]) -> Text:
    shown = Text(text["text"])
    most = max((abs(token["attribution"]) for token in text["tokens"]), default=0.0) or 1.0
    for token in text["tokens"]:
        if abs(token["attribution"]) > 0.2 * most:
            style = "bold dodger_blue2" if token["attribution"] > 0 else "bold dark_orange3"
            shown.stylize(style, token["start"], token["end"])
    return shown


def last_window(bars: Bars, metadata: ModelMetadata) -> NDArray[np.float32]:
    """Return the window of the last bar that ends one, float32 [time_steps, columns].

    Parameters
    ----------
    metadata : ModelMetadata
        The model's, whose ``bars`` define its columns and the length of a break.

    Raises
    ------
    BadData
        No bar ends a whole window.
    """
    spec = metadata.require_bars()
    lookback = bar_schema(spec.indicators).window
    ends = window_ends(bars.ts_event, spec.max_gap_ns, lookback)
    ends = ends[have_volume(bars.volumes(), ends)]
    if not len(ends):
        raise BadData(
            f"{bars.source}: expected {lookback} bars with volume and without a break, got fewer among {len(bars)}"
        )
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    return windows(bar_columns(ohlcv, spec.indicators), ends[-1:])[0]
