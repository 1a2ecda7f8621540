"""Compare a recorded live run with a backtest: ``python scripts/parity.py --data trades.csv --url mar:tick.mar``."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.cli.app import App, console
from nautilus_torchserve.cli.parity_text import parity_table
from nautilus_torchserve.cli.read_arguments import AllowJumps
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.trading.live.parity.parity import compare_run
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import UserError

TOKEN = "TORCHSERVE_TOKEN"
app = App()


@app.command()
def main(
    url: Annotated[list[str], typer.Option(help="Inference port, or mar:PATH; repeat for several archives.")],
    log: Annotated[str, typer.Option(help="parquet:FOLDER, or a database URL of SQLAlchemy.")] = "parquet:runs/audit",
    run: Annotated[str | None, typer.Option(help="Which run; left out: the last one.")] = None,
    data: Annotated[Path | None, typer.Option(help="What was played; left out: the simulation.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Instrument of a catalog: BTCUSDT.BINANCE.")] = None,
    allow_jumps: AllowJumps = False,
    trades: Annotated[int, typer.Option(min=1, help="Trades that were simulated.")] = 60_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 1,
    token_file: Annotated[Path | None, typer.Option(help="key_file.json of a server not started by serve.py.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Predictions bit for bit and orders one by one; status 0 where all are equal or explained.

    The run is one of scripts/live.py on ticks with an audit log. Features are computed anew from the data and the
    archives asked again; a backtest then gets each prediction when it arrived in the run.
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
