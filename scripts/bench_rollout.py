"""Swaps of versions under load: a rollout against the calls that come to mind first; and how fast a rollback is."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.swaps import CLIENTS, compare, rollback_ms
from nautilus_torchserve.cli.app import App

app = App()
ROW = np.array([[1.5, 0.4, 0.5, 0.2]], dtype=np.float32)


@app.command()
def main(
    archive: Annotated[Path, typer.Option(help="An archive of the tick model.")] = Path("archives/tick.mar"),
    swaps: Annotated[int, typer.Option(min=1, help="How many of each kind.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Swap versions of ARCHIVE while eight keep-alive clients ask without a pause."""
    words = Console(stderr=True)
    with words.status("Swapping"):
        found = compare(archive, swaps, ROW)
        rollbacks = rollback_ms(archive, 5)
    if as_json:
        print(json.dumps({**{name: asdict(each) for name, each in found.items()}, "rollback_ms": rollbacks}))
        return
    columns = ("", "swaps", "requests", "failed", "p99 before, ms", "p99 loading, ms", "longest, ms", "a swap, s")
    table = Table(*columns, title=f"{CLIENTS} clients")
    for name, each in found.items():
        table.add_row(
            name,
            str(each.swaps),
            str(each.requests),
            str(each.failed),
            f"{each.p99_ms:.1f}",
            f"{each.loading_p99_ms:.1f} ({each.loading_p99_ms / each.p99_ms:.1f} x)",
            f"{each.longest_ms:.1f} ({each.longest_ms / each.p99_ms:.1f} x)",
            f"{each.took_s:.1f}",
        )
    words.print(table)
    words.print(f"rollback: {median(rollbacks):.0f} ms until the version before is the default one, checked")


if __name__ == "__main__":
    app()
