"""Measure how long a trade waits for its handler in a live node: off the event loop, and in the handler."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.live_wait import compare
from benchmarks.machine import describe_machine
from nautilus_torchserve.cli.app import App
from nautilus_torchserve.cli.options import Json

app = App()


@app.command()
def main(
    archive: Annotated[Path, typer.Option(help="Archive (of the tick model).")] = Path("archives/tick.mar"),
    model_ms: Annotated[int, typer.Option(min=1, help="Duration of a forward pass (ms).")] = 5,
    rate: Annotated[float, typer.Option(min=1.0, help="Trades per second, at random times.")] = 500.0,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds (of each run).")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds (the median counts).")] = 3,
    as_json: Json = False,
) -> None:
    """Run a TradingNode on trades sent by another process, with a real server, each way in turn."""
    messages = Console(stderr=True)
    machine = describe_machine()
    with messages.status("Running nodes"):
        comparison = compare(archive, model_ms, rate, seconds, rounds)
    if as_json:
        waits = {way: asdict(wait) for way, wait in comparison.waits.items()}
        result = {"machine": machine, "ways": waits, "times_longer": comparison.times_longer}
        print(json.dumps({**result, "target": comparison.target.as_dict()}))
        return
    columns = ("", "wait p50, ms", "p99, ms", "longest, ms", "a request, ms", "requests", "answered")
    table = Table(*columns, title=f"{rate:g} trades/s, load {machine['load_average']:.1f} on {machine['cores']} cores")
    for way, wait in comparison.waits.items():
        cells = (f"{wait.p50_ms:.2f}", f"{wait.p99_ms:.2f}", f"{wait.max_ms:.2f}", f"{wait.model_p50_ms:.1f}")
        table.add_row(way, *cells, f"{wait.requests:.0f}", f"{wait.answered:.0f} of {wait.requested:.0f}")
    messages.print(table)
    messages.print(
        f"requests in the handler: {comparison.times_longer:,.0f} times as long at p99, growing with time; "
        f"p99 under {comparison.target.bound:g} ms {'reached' if comparison.target.reached else 'missed'}"
    )
