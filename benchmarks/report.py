"""The measurement for programs and for people."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.comparison import Cell, Plan
from benchmarks.targets import Target

_NUMBERS = ("p50 ms", "p99 ms", "requests/s", "rows/s")


def as_dict(machine: Mapping[str, Any], plan: Plan, cells: Sequence[Cell], targets: Sequence[Target]) -> dict[str, Any]:
    """The whole measurement as one JSON object."""
    return {
        "machine": dict(machine),
        "plan": vars(plan),
        "cells": [cell.as_dict() for cell in cells],
        "targets": [target.as_dict() for target in targets],
    }


def show(console: Console, machine: Mapping[str, Any], cells: Sequence[Cell], targets: Sequence[Target]) -> None:
    """Print the machine, a table a request, and which targets are reached."""
    said = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    console.print(said, soft_wrap=True, highlight=False)
    for request, group in groupby(cells, key=lambda cell: cell.request):
        console.print(_table(request, list(group)))
    for target in targets:
        verdict = "[green]reached[/]" if target.reached else "[red]missed[/] "
        bound = f"{'<=' if target.at_most else '>='} {target.bound:g}"
        console.print(f"{verdict} {target.value:6.2f} ({bound})  {target.name}", soft_wrap=True, highlight=False)


def _table(request: str, cells: Sequence[Cell]) -> Table:
    table = Table("connections", "server", title=request, title_justify="left", title_style="bold")
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for connections, group in groupby(cells, key=lambda cell: cell.connections):
        table.add_section()
        for cell in group:
            numbers = (f"{cell.p50_ms:.3f}", f"{cell.p99_ms:.3f}", f"{cell.requests_per_s:,.0f}",
                       f"{cell.requests_per_s * cell.rows:,.0f}")
            table.add_row(str(connections), cell.server, *numbers)
    return table
