"""Measure how long a trade waits for its handler in a live node: our way, and asking in the handler."""

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

app = App()


@app.command()
def main(
    archive: Annotated[Path, typer.Option(help="An archive of the tick model.")] = Path("archives/tick.mar"),
    model_ms: Annotated[int, typer.Option(min=1, help="What the model takes.")] = 5,
    rate: Annotated[float, typer.Option(min=1.0, help="Trades a second, at random times.")] = 500.0,
    seconds: Annotated[float, typer.Option(min=0.2, help="Of trades, in each run.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, help="The median counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Run a TradingNode on trades sent by another process, with a real server, each way in turn."""
    words = Console(stderr=True)
    machine = describe_machine()
    with words.status("Running nodes"):
        found = compare(archive, model_ms, rate, seconds, rounds)
    if as_json:
        waits = {way: asdict(each) for way, each in found.waits.items()}
        said = {"machine": machine, "ways": waits, "times_longer": found.times_longer}
        print(json.dumps({**said, "target": found.target.as_dict()}))
        return
    columns = ("", "wait p50, ms", "p99, ms", "longest, ms", "a request, ms", "requests", "answered")
    table = Table(*columns, title=f"{rate:g} trades/s, load {machine['load_average']:.1f} on {machine['cores']} cores")
    for way, each in found.waits.items():
        cells = (f"{each.p50_ms:.2f}", f"{each.p99_ms:.2f}", f"{each.max_ms:.2f}", f"{each.model_p50_ms:.1f}")
        table.add_row(way, *cells, f"{each.requests:.0f}", f"{each.answered:.0f} of {each.asked:.0f}")
    words.print(table)
    words.print(
        f"asking in the handler: {found.times_longer:,.0f} times as long at p99, and longer the longer it goes on; "
        f"p99 under {found.target.bound:g} ms {'reached' if found.target.reached else 'missed'}"
    )


if __name__ == "__main__":
    app()
