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
from nautilus_torchserve.cli.options import Json

app = App()
ROW = np.array([[1.5, 0.4, 0.5, 0.2]], dtype=np.float32)


@app.command()
def main(
    archive: Annotated[Path, typer.Option(help="Archive (of the tick model).")] = Path("archives/tick.mar"),
    swaps: Annotated[int, typer.Option(min=1, help="Number of swaps of each kind.")] = 20,
    as_json: Json = False,
) -> None:
    """Swap versions of ARCHIVE while eight keep-alive clients send requests without a pause."""
    messages = Console(stderr=True)
    with messages.status("Swapping"):
        kinds = compare(archive, swaps, ROW)
        rollbacks = rollback_ms(archive, 5)
    if as_json:
        print(json.dumps({**{name: asdict(swap) for name, swap in kinds.items()}, "rollback_ms": rollbacks}))
        return
    columns = ("", "swaps", "requests", "failed", "p99 before, ms", "p99 loading, ms", "longest, ms", "a swap, s")
    table = Table(*columns, title=f"{CLIENTS} clients")
    for name, swap in kinds.items():
        table.add_row(
            name,
            str(swap.swaps),
            str(swap.requests),
            str(swap.failed),
            f"{swap.p99_ms:.1f}",
            f"{swap.loading_p99_ms:.1f} ({swap.loading_p99_ms / swap.p99_ms:.1f} x)",
            f"{swap.longest_ms:.1f} ({swap.longest_ms / swap.p99_ms:.1f} x)",
            f"{swap.took_s:.1f}",
        )
    messages.print(table)
    messages.print(f"rollback: {median(rollbacks):.0f} ms until the version before is the default one, checked")
