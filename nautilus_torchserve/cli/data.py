"""Inspect market data files."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nautilus_torchserve.cli.app import App, print_json
from nautilus_torchserve.cli.data_options import Instrument, Stamp
from nautilus_torchserve.cli.market_data import FileOptions
from nautilus_torchserve.cli.options import Json
from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.inspection import Inspection, inspect_files

PAGE_WIDTH = 1000
"""Columns of the output: values are not cut, whatever the terminal."""
app = App()


@app.callback()
def data() -> None:
    """Inspect market data files."""


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="File, archive, folder or glob of trades, bars, quotes or rates.")],
    files: FileOptions,
    instrument: Instrument = None,
    stamp: Stamp = "open",
    rows: Annotated[int, typer.Option(min=0, help="Number of first rows to print.")] = 5,
    as_json: Json = False,
) -> None:
    """Print what files are recognised as, what is odd about them, and their first rows.

    The exit status is 1 if they cannot be used.
    """
    result = inspect_files(path, instrument, files.read(stamp), rows)
    if as_json:
        print_json(asdict(result))
    else:
        print_inspection(result)
    if result.refused is not None:
        raise BadData(result.refused)


def print_inspection(result: Inspection) -> None:
    """Print an inspection as text on stdout."""
    console = Console(markup=False, highlight=False, soft_wrap=True, width=PAGE_WIDTH)
    for file in result.files:
        columns = ", ".join(f"{field} = {column!r}" for field, column in file.columns.items())
        console.print(f"{file.file}: {file.title} ({file.layout}), {file.rows:,} rows, decimal {file.decimal}")
        console.print(f"  {columns}")
    if result.first is not None:
        kind, name = result.files[0].kind, result.instrument or result.files[0].file
        console.print(f"{name}: {result.rows:,} {kind}, {result.first} to {result.last}")
    for finding in result.findings:
        console.print(f"  {finding}")
    if result.head:
        table = Table(*result.head[0], box=None)
        for row in result.head:
            table.add_row(*row.values())
        console.print(table)
