"""Compare a recorded live run with a backtest: ``nautilus-torchserve parity --data trades.csv --url mar:tick.mar``."""

import json
import os
from typing import Annotated

import typer

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.cli.app import App, console
from nautilus_torchserve.cli.data_options import AllowJumps, Instrument, Trades, TradesData
from nautilus_torchserve.cli.options import Json, Log, RunId, TokenFile, seed_option
from nautilus_torchserve.cli.parity_text import parity_table
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.trading.live.parity.parity import compare_run
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import UserError

TOKEN = "TORCHSERVE_TOKEN"
app = App()


@app.command()
def main(
    url: Annotated[list[str], typer.Option(help="Inference port: its URL, or mar:PATH of an archive; repeatable.")],
    log: Log = "parquet:runs/audit",
    run: RunId = None,
    data: TradesData = None,
    instrument: Instrument = None,
    allow_jumps: AllowJumps = False,
    trades: Trades = 60_000,
    seed: Annotated[int, seed_option("the simulation")] = 1,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Compare predictions bit for bit and orders one by one; status 0 where all are equal or explained.

    The run is one of nautilus-torchserve live on ticks with an audit log. Features are computed anew from the data,
    predictions by the same archives; a backtest then gets each prediction when it arrived in the run.
    """
    provide_token(TOKEN, url[0], token_file)
    loaded = load(data, trades, seed, instrument, ReadOptions(allow_jumps=allow_jumps))
    report = compare_run(existing_log(log), loaded, url, run, os.environ.get(TOKEN))
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        console.print(parity_table(report))
    if not report.holds:
        raise UserError("the run and its backtest differ in what nothing explains")
