"""Measure how fast backtests are: predictions fetched beforehand, against the engine alone and one request a trade."""

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.backtests import HTTP, ServedArchive, compare, find_targets, long_market, medians, prefetched
from benchmarks.machine import describe_machine
from benchmarks.recording import own_server
from nautilus_torchserve.cli.app import App
from nautilus_torchserve.cli.data_options import AllowJumps, TradesData
from nautilus_torchserve.cli.options import Json, RunFolder, seed_option
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.user_error import InvalidArgument

app = App()
messages = Console(stderr=True)


@app.command()
def bench(
    run: RunFolder = Path("runs/tick"),
    trades: Annotated[int, typer.Option(min=100, help="Trades to simulate.")] = 200_000,
    data: TradesData = None,
    allow_jumps: AllowJumps = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds (the median counts).")] = 3,
    inline: Annotated[int, typer.Option(min=100, help="Number of trades of the inline runs.")] = 2_000,
    long: Annotated[
        int | None,
        typer.Option(
            min=100, help="Number of trades of a first run that measures peak memory, such as 20000000; default: none."
        ),
    ] = None,
    seed: Annotated[int, seed_option("simulation")] = 1,
    as_json: Json = False,
) -> None:
    """Measure and report; exit status 1 when a measurement failed, 0 also when a target is missed."""
    if not run.is_dir():
        raise InvalidArgument(f"{run}: expected a run folder, got none: nautilus-torchserve train tick --out {run}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then too
    machine, read = describe_machine(), ReadOptions(allow_jumps=allow_jumps)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Progress(console=messages) as progress:
        task = progress.add_task("starting a server", total=4 * rounds + 1 + (long is not None))

        def step(doing: str) -> None:
            progress.update(task, advance=1, description=doing)

        archive = build_archive("tick", run, "1.0", Path(folder)).path
        with own_server(run, archive) as server:
            served = ServedArchive(server.url, server.token, archive)
            longest = None
            if long is not None:
                step(f"{long:,} trades")
                longest = prefetched(long_market(long, seed), served, HTTP)
            runs = compare(load(data, trades, seed, read=read), served, rounds, inline, step)
    targets = find_targets(runs, longest)
    ticks_per_s, ticks_per_cpu_s = medians(runs, "ticks_per_s"), medians(runs, "ticks_per_cpu_s")
    result = {
        "machine": machine,
        "runs": [run_result.as_dict() for run_result in (*runs, *([] if longest is None else [longest]))],
        "ticks_per_s": ticks_per_s,
        "ticks_per_cpu_s": ticks_per_cpu_s,
        "targets": [target.as_dict() for target in targets],
    }
    if as_json:
        print(json.dumps(result))
    out = messages if as_json else Console()
    out.print(", ".join(f"{name} {value}" for name, value in machine.items() if value is not None), soft_wrap=True)
    for name, value in ticks_per_s.items():
        of_cpu = ticks_per_cpu_s[name]
        out.print(f"{name:16s}{value:12,.0f} ticks/s {of_cpu:12,.0f} per second of processor time", highlight=False)
    for target in targets:
        verdict = "[green]reached[/]" if target.reached else "[red]missed[/] "
        bound = f"{'<=' if target.at_most else '>='} {target.bound:,g}"
        out.print(f"{verdict} {target.value:12,.2f} ({bound})  {target.name}", highlight=False, soft_wrap=True)
