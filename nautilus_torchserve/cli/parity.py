"""Compare a recorded live run with a backtest: ``nautilus-torchserve parity --data trades.csv --url mar:tick.mar``."""

import os
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.cli.app import App, console, print_json
from nautilus_torchserve.cli.data_options import Trades
from nautilus_torchserve.cli.market_data import TradeSource
from nautilus_torchserve.cli.options import Json, Log, RequireSignature, RunId, TokenFile, seed_option
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.live.parity.parity import ParityReport, compare_run
from nautilus_torchserve.trading.server_token import provide_token
from nautilus_torchserve.user_error import UserError

SHOWN = 20
"""Differing predictions, and explained orders, that are listed; all are in the JSON."""
TOKEN = "TORCHSERVE_TOKEN"
app = App()


@app.command()
def main(
    spec: Annotated[
        str | None, typer.Argument(help="Spec of a model on features of your own; default: the tick model's features.")
    ] = None,
    *,
    url: Annotated[list[str], typer.Option(help="Inference URL, or mar:PATH for an archive; repeatable.")],
    source: TradeSource,
    log: Log = "parquet:runs/audit",
    run: RunId = None,
    trades: Trades = 60_000,
    seed: Annotated[int, seed_option("simulation")] = 1,
    require_signature: RequireSignature = False,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Compare predictions bit for bit and orders one by one; status 0 where all are equal or explained.

    The run is one of nautilus-torchserve live on trades with an audit log. Features are computed anew from the data,
    predictions by the same archives; a backtest then gets each prediction when it arrived in the run.
    """
    own = None if spec is None else spec_of(spec)
    provide_token(TOKEN, url[0], token_file)
    report = compare_run(existing_log(log), source.load(trades, seed), url, run, os.environ.get(TOKEN), own)
    if as_json:
        print_json(report.to_dict())
    else:
        console.print(parity_table(report))
    if not report.holds:
        raise UserError("the run and its backtest differ in what nothing explains")


def parity_table(report: ParityReport) -> Table:
    """Return the counts, then each difference."""
    predictions, orders = report.predictions, report.orders
    verdict = "holds" if report.holds else "DOES NOT HOLD"
    table = Table(title=f"parity of {report.run_id} {verdict}", show_header=False, title_justify="left")
    table.add_row("data", Text(report.data))
    table.add_row("features", f"{predictions.features_equal:,} of {predictions.requests:,} equal to the bit")
    table.add_row("outputs", f"{predictions.outputs_equal:,} of {predictions.answered:,} equal to the bit")
    table.add_row("orders", f"{orders.live:,} live, {orders.backtest:,} in the backtest, {orders.equal:,} equal")
    table.add_row("sent at most", f"{orders.most_apart_ns / 1e6:.3f} ms apart, where equal")
    if report.halts:
        table.add_row("halts", f"{report.halts}, which the backtest got at their recorded times")
    if report.lost:
        table.add_row("LOST", f"{report.lost:,} records are missing from the log")
    for difference in predictions.differences[:SHOWN]:
        table.add_row(f"question {difference.question}", Text(difference.what))
    if len(predictions.differences) > SHOWN:
        table.add_row("", f"and {len(predictions.differences) - SHOWN:,} more questions")
    explained = [order for order in orders.differences if order.explanation]
    unexplained = [order for order in orders.differences if not order.explanation]
    for order in sorted(unexplained + explained[:SHOWN], key=lambda order: order.ts_ns):
        label = "order" if order.question is None else f"order on {order.question}"
        what = f"live {order.live or 'none'}, backtest {order.backtest or 'none'}"
        table.add_row(label, Text(f"{what}: {order.explanation or 'NOT EXPLAINED'}"))
    if len(explained) > SHOWN:
        table.add_row("", f"and {len(explained) - SHOWN:,} more orders, explained: --json has them all")
    return table
