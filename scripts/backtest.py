"""Backtest a strategy on a served model: ``python scripts/backtest.py tick --url http://127.0.0.1:8080``."""

import json
import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from market.source import load
from market.trades import BadData
from reporting.page import write_report
from serving.archive_import import UnreadableArchive
from serving.tokens import NoToken, inference_token
from serving.torchserve import PROJECT, find_server
from strategies.backtest import run_backtest
from strategies.checks import BadSetting
from strategies.console import result_table
from strategies.durations import parse_duration
from strategies.report import report_data, summary
from strategies.settings import BacktestSettings
from wire.errors import RequestError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(stderr=True)


def duration(text: str) -> int:
    try:
        return parse_duration(text)
    except BadSetting as error:
        raise typer.BadParameter(str(error)) from None


def decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"a number expected, was {text!r}") from None


@app.callback()
def backtest() -> None:
    """Backtest a strategy on a served model."""


@app.command()
def tick(
    url: Annotated[str, typer.Option(help="Inference port, or mar:PATH of an archive.")] = "http://127.0.0.1:8080",
    data: Annotated[Path | None, typer.Option(help="CSV of trades or catalog folder; left out: simulated.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Instrument of a catalog: BTCUSDT.BINANCE.")] = None,
    trades: Annotated[int, typer.Option(min=1, help="Trades to simulate.")] = 60_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 1,
    model: Annotated[str, typer.Option(help="The registered name.")] = "tick",
    version: Annotated[str | None, typer.Option(help="Left out: the server's default one.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="key_file.json of a server not started by serve.py.")] = None,
    latency: Annotated[int, typer.Option(parser=duration, help="From trade to order: 500us, 1ms.")] = "1ms",  # type: ignore[assignment]
    max_age: Annotated[int, typer.Option(parser=duration, help="Oldest prediction to trade on.")] = "1s",  # type: ignore[assignment]
    cooldown: Annotated[int, typer.Option(parser=duration, help="Least time between orders.")] = "1s",  # type: ignore[assignment]
    size: Annotated[Decimal, typer.Option(parser=decimal, help="Position, in base currency.")] = "0.1",  # type: ignore[assignment]
    min_probability: Annotated[float, typer.Option(help="Of BUY or SELL, to act on.")] = 0.45,
    fee_bps: Annotated[float, typer.Option(help="Fee on each fill (bps).")] = 0.5,
    in_sample: Annotated[bool, typer.Option("--in-sample", help="Run on what the fit saw, too.")] = False,
    report: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Long on BUY, short on SELL, as the tick model says trade by trade."""
    try:
        settings = BacktestSettings(
            url=url,
            model=model,
            version=version,
            latency_ns=latency,
            max_age_ns=max_age,
            cooldown_ns=cooldown,
            trade_size=size,
            min_probability=min_probability,
            fee_bps=fee_bps,
            in_sample=in_sample,
        )
        provide_token(settings.token_env, url, token_file)
        loaded = load(data, trades, seed, instrument)
        with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True) as bar:
            task = bar.add_task("trades", total=None)
            result = run_backtest(loaded, settings, lambda done, total: bar.update(task, completed=done, total=total))
        said = summary(settings, result)
        if report is not None:
            said["report"] = str(write_report(report_data(settings, result), report))
    except BadSetting as error:
        raise typer.BadParameter(str(error)) from None
    except (BadData, UnreadableArchive, NoToken, RequestError, OSError) as error:
        raise failed(f"{error}") from None
    if as_json:
        typer.echo(json.dumps(said))
    else:
        console.print(result_table(said))
    if result.gave_up:
        raise failed(f"the model stopped answering: {result.last_error}")


def provide_token(variable: str, url: str, key_file: Path | None) -> None:
    """Set the variable from the key file, else, where it is not set, from the server that scripts/serve.py started.

    Only for that server's own URL: a token is sent to nobody else.
    """
    if key_file is not None:
        os.environ[variable] = inference_token(key_file)
    elif variable not in os.environ:
        server = find_server(PROJECT / ".server")
        if server is not None and server.inference_url == url.rstrip("/") and server.token is not None:
            os.environ[variable] = server.token


def failed(reason: str) -> typer.Exit:
    typer.echo(f"error: {reason}", err=True)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
