"""Show the story of an order: ``nautilus-torchserve audit O-20231114-221320-001-000-1 --log parquet:runs/audit``."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Column, Table

from nautilus_torchserve.audit.opening import existing_log, folder_of
from nautilus_torchserve.audit.story import orders, story_of
from nautilus_torchserve.audit.verification import Verification
from nautilus_torchserve.audit.verification import verify as verify_log
from nautilus_torchserve.cli.app import App, console, echo
from nautilus_torchserve.cli.options import Json, Log, RunId
from nautilus_torchserve.cli.story_text import story_dict, story_table
from nautilus_torchserve.features.tick import COLUMNS
from nautilus_torchserve.user_error import UserError

app = App(no_args_is_help=True)


@app.command()
def main(
    order_id: Annotated[str | None, typer.Argument(help="The client order id.")] = None,
    log: Log = "parquet:runs/audit",
    run: RunId = None,
    list_orders: Annotated[bool, typer.Option("--list", help="All orders instead.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Compare all files with the log's chain instead.")] = False,
    last_hash: Annotated[
        str | None,
        typer.Option(help="With --verify: a hash that the chain must contain, from a run's summary; default: none."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the request to the model, its outputs, the strategy's decision, and what became of the order."""
    if [order_id is not None, list_orders, verify].count(True) != 1:
        raise typer.BadParameter("expected one of ORDER_ID, --list and --verify")
    if verify:
        print_verification(log, verify_log(folder_of(log), last_hash), as_json)
        return
    columns = [column.name for column in COLUMNS]
    opened = existing_log(log)
    if order_id is None:
        print_orders(orders(opened, run), as_json)
        return
    story = story_of(opened, order_id, run)
    if as_json:
        typer.echo(json.dumps(story_dict(story, columns)))
    else:
        console.print(story_table(story, columns))


def print_verification(log: str, verification: Verification, as_json: bool) -> None:
    """Print what was compared; raise where a file is not as it was written."""
    if as_json:
        typer.echo(json.dumps({"whole": not verification.findings, **asdict(verification)}))
    for name in verification.unconfirmed:
        echo(f"{name}: its run crashed while it wrote, and its last records may be missing")
    for finding in verification.findings:
        echo(f"{finding.problem}: {finding.file}: expected {finding.expected}, got {finding.got}")
    if verification.findings:
        raise UserError(f"{log}: {len(verification.findings)} findings in {verification.entries} entries of the chain")
    adopted = f"{verification.segments} files ({verification.adopted} from before it had a chain)"
    streams = f"{verification.streams} still written or left by a crash"
    echo(f"{log} is whole: {adopted}, {streams}; last hash {verification.last_hash}")


def print_orders(listed: list[dict], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"orders": listed}))
        return
    table = Table(
        Column("order", overflow="fold"), Column("run", overflow="fold"), "instrument", "side", "quantity", "came to"
    )
    for order in listed:
        table.add_row(*(order[name] for name in ("order_id", "run_id", "instrument_id", "side", "quantity", "event")))
    console.print(table)
