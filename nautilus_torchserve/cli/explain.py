"""Attribute predictions to their inputs: ``nautilus-torchserve explain trade reports/demo --trade 3``."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from nautilus_torchserve.cli.app import App, print_json
from nautilus_torchserve.cli.market_data import BarSource
from nautilus_torchserve.cli.options import LOCAL, Json, RequireSignature, TokenFile, Url, Version, seed_option
from nautilus_torchserve.features.bar import bar_columns, bar_schema, breaks_note, have_volume, window_ends, windows
from nautilus_torchserve.market.bars.bars import PRICES, Bars
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
Output = Annotated[str | None, typer.Option(help="Output to explain; default: the model's own choice.")]


@app.callback()
def explain() -> None:
    """Attribute predictions to their inputs, by integrated gradients."""


@dataclass(frozen=True)
class RequestOptions:
    """Options of a request for explanations."""

    url: Url = LOCAL
    require_signature: RequireSignature = False
    model: Annotated[str | None, typer.Option(help="Model (registered name); default: the command's name.")] = None
    version: Version = None
    token_file: TokenFile = None
    as_json: Json = False

    def print_explanations(
        self, ctx: typer.Context, inputs: Callable[[InferenceClient], Inputs], output: str | None = None
    ) -> None:
        """Request the explanations of some inputs and print them."""
        model = self.model or str(ctx.info_name)
        provide_token(TOKEN, self.url, self.token_file)
        with connect(self.url, model, self.version, token=os.environ.get(TOKEN)) as client:
            response = client.explain(inputs(client), output)
        if self.as_json:
            served = {"model": model, "version": response.version, "archive_digest": response.digest}
            print_json({**served, "explanations": response.explanations})
            return
        console = Console(markup=False)
        for explanation in response.explanations:
            console.print(*explanation_lines(explanation), sep="\n")


@dataclass(frozen=True)
class WindowSource(BarSource):
    """Options of the bars whose last window is explained."""

    seed: Annotated[int, seed_option("simulation")] = 1

    def load_enough(self) -> Bars:
        """Load the bars, or simulate as many as any window needs."""
        return self.load(400, self.seed)


def explain_row(
    ctx: typer.Context,
    row: Annotated[list[float], typer.Argument(help="Features of one row, in schema order.")],
    request: RequestOptions,
    output: Output = None,
) -> None:
    """Explain an output for one row of features."""
    inputs = np.array([row], dtype=np.float32)
    request.print_explanations(ctx, lambda client: inputs, output)


def explain_window(ctx: typer.Context, source: WindowSource, request: RequestOptions, output: Output = None) -> None:
    """Explain a forecast for the last window of some bars."""
    bars = source.load_enough()
    request.print_explanations(ctx, lambda client: last_window(bars, client.metadata)[np.newaxis], output)


def explain_texts(
    ctx: typer.Context,
    texts: Annotated[list[str], typer.Argument(help="One or several texts.")],
    request: RequestOptions,
    output: Output = None,
) -> None:
    """Explain an output for texts."""
    request.print_explanations(ctx, lambda client: texts, output)


def explain_news_window(
    ctx: typer.Context,
    source: WindowSource,
    request: RequestOptions,
    texts: Annotated[list[str] | None, typer.Argument(help="Headlines on the instrument, just received.")] = None,
) -> None:
    """Explain a forecast for the last window of some bars and news."""
    bars, headlines = source.load_enough(), tuple(texts or ())
    request.print_explanations(ctx, lambda client: [NewsWindow(last_window(bars, client.metadata), headlines)])


@app.command()
def trade(
    report: Annotated[Path, typer.Argument(help="A backtest's report folder.")],
    number: Annotated[
        int | None, typer.Option("--trade", help="Trade number; default: the most profitable trade.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Inference URL, or mar:PATH for an archive; default: the backtest's.")
    ] = None,
    require_signature: RequireSignature = False,
    any_version: Annotated[
        bool, typer.Option("--any-version", help="Accept another archive than the backtest's.")
    ] = False,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Explain the prediction on which a backtest's trade was opened."""
    log = read_trades(report)
    best = log.best()
    chosen = log.trade(number if number is not None else best.number if best is not None else 1)
    provide_token(TOKEN, url or log.url, token_file)
    explained = explain_trade(log, chosen, url, os.environ.get(TOKEN), any_version)
    if as_json:
        print_json(explained)
    else:
        console = Console(markup=False)
        console.print(trade_line(explained), highlight=False)
        console.print(*explanation_lines(explained["explanation"]), sep="\n")


COMMANDS: Mapping[tuple[str, ...], Callable[..., None]] = {
    ("trades",): explain_row,
    ("bars",): explain_window,
    ("texts",): explain_texts,
    ("bars", "texts"): explain_news_window,
}
"""Data that a model's inputs are made of -> the command, which is named after the model."""
for _spec in MODELS.values():
    _command = COMMANDS[_spec.features.data]
    _negative = {"ignore_unknown_options": True} if _command is explain_row else {}  # -0.5 is a feature, not an option
    app.command(_spec.name, context_settings=_negative)(_command)


def explanation_lines(explanation: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield sentences, a table of bars, and for texts the text with its words coloured."""
    for sentence in sentences(explanation):
        yield Text(sentence)
    yield _bars(strongest(explanation), explanation["output"])
    texts = [explanation] if "tokens" in explanation else (explanation.get("news") or {"texts": ()})["texts"]
    for text in texts:
        yield _coloured(text)


def trade_line(explained: Mapping[str, Any]) -> str:
    """Return the trade in a sentence; ``explained`` comes from `trading.backtest.explain.explain_trade`."""
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
    SchemaMismatch
        The model does not take bars.
    """
    if not metadata.takes_bars:
        raise SchemaMismatch(f"expected a model of bars, got one that takes {metadata.inputs}")
    spec = metadata.require_bars()
    lookback = bar_schema(spec.indicators).window
    ends = window_ends(bars.ts_event, spec.max_gap_ns, lookback)
    ends = ends[have_volume(bars.volumes(), ends)]
    if not len(ends):
        raise BadData(
            f"{bars.source}: expected {lookback} bars with volume and without a break, got fewer among {len(bars)}"
            f"{breaks_note(bars.ts_event, spec.max_gap_ns)}"
        )
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    return windows(bar_columns(ohlcv, spec.indicators), ends[-1:])[0]
